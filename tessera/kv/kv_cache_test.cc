#include "tessera/kv/kv_cache.h"

#include <gtest/gtest.h>

namespace tessera::kv {
namespace {

TEST(PagePool, FreePlusUsedIsCapacity) {
  PagePool pool(3);
  const int32_t a = *pool.Allocate();
  const int32_t b = *pool.Allocate();
  EXPECT_NE(a, b);
  EXPECT_EQ(pool.num_free(), 1);
  pool.AddReference(a);
  pool.Release(a);
  EXPECT_EQ(pool.num_free(), 1) << "a still has a reference";
  pool.Release(a);
  pool.Release(b);
  EXPECT_EQ(pool.num_free(), 3);
}

TEST(PagePool, ExhaustionIsAnErrorNotACrash) {
  PagePool pool(1);
  ASSERT_TRUE(pool.Allocate().ok());
  const auto second = pool.Allocate();
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kResourceExhausted);
}

TEST(PageTable, FailedReserveChangesNothing) {
  PagePool pool(2);
  PageTable table(pool);
  ASSERT_TRUE(table.Reserve(1).ok());
  EXPECT_FALSE(table.Reserve(3 * ops::kPageRows).ok());
  EXPECT_EQ(table.capacity(), ops::kPageRows);
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(PageTable, TruncateKeepsThePageOfTheLastSlot) {
  PagePool pool(4);
  PageTable table(pool);
  ASSERT_TRUE(table.Reserve(4 * ops::kPageRows).ok());
  table.Truncate(ops::kPageRows + 1);
  EXPECT_EQ(table.capacity(), 2 * ops::kPageRows);
  EXPECT_EQ(pool.num_free(), 2);
}

TEST(PageTable, ForkSharesWholePagesOnly) {
  PagePool pool(4);
  PageTable table(pool);
  ASSERT_TRUE(table.Reserve(2 * ops::kPageRows).ok());
  {
    PageTable fork = table.ForkPrefix(ops::kPageRows + 7);
    EXPECT_EQ(fork.capacity(), ops::kPageRows);
    EXPECT_EQ(pool.references(table.pages()[0]), 2);
    EXPECT_EQ(pool.references(table.pages()[1]), 1);
  }
  EXPECT_EQ(pool.references(table.pages()[0]), 1);
}

}  // namespace
}  // namespace tessera::kv
