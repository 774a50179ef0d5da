#include "tessera/backend/cuda/memory.h"

#include <gtest/gtest.h>

namespace tessera::cuda {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

void* Address(uintptr_t value) { return reinterpret_cast<void*>(value); }

TEST(BlockBytes, PowersOfTwoThenPages) {
  EXPECT_EQ(BlockBytes(0), 512);
  EXPECT_EQ(BlockBytes(512), 512);
  EXPECT_EQ(BlockBytes(513), 1024);
  EXPECT_EQ(BlockBytes(kMiB + 1), 2 * kMiB);
  EXPECT_EQ(BlockBytes(2 * kMiB), 2 * kMiB);
  EXPECT_EQ(BlockBytes(2 * kMiB + 1), 4 * kMiB);
  EXPECT_EQ(BlockBytes(5 * kMiB), 6 * kMiB);
}

TEST(FreeBlocks, HandsOutWhatFits) {
  FreeBlocks blocks(100 * kMiB);
  EXPECT_FALSE(blocks.Take(1).has_value());
  ASSERT_TRUE(blocks.Give(Address(1), 1024));
  ASSERT_TRUE(blocks.Give(Address(2), 10 * kMiB));
  ASSERT_TRUE(blocks.Give(Address(3), 12 * kMiB));
  EXPECT_EQ(blocks.bytes(), 1024 + 22 * kMiB);

  EXPECT_FALSE(blocks.Take(512).has_value());  // small ones only in their own size
  EXPECT_FALSE(blocks.Take(1025).has_value());
  const auto small = blocks.Take(600);
  ASSERT_TRUE(small.has_value());
  EXPECT_EQ(*small, std::pair(Address(1), int64_t{1024}));

  EXPECT_FALSE(blocks.Take(6 * kMiB).has_value());  // 10 MiB would waste more than a quarter
  const auto large = blocks.Take(9 * kMiB);         // that is 10 MiB
  ASSERT_TRUE(large.has_value());
  EXPECT_EQ(*large, std::pair(Address(2), 10 * kMiB));
  const auto larger = blocks.Take(9 * kMiB);
  ASSERT_TRUE(larger.has_value());
  EXPECT_EQ(*larger, std::pair(Address(3), 12 * kMiB));
  EXPECT_EQ(blocks.bytes(), 0);
}

TEST(FreeBlocks, KeepsToItsLimit) {
  FreeBlocks blocks(4 * kMiB);
  EXPECT_TRUE(blocks.Give(Address(1), 2 * kMiB));
  EXPECT_FALSE(blocks.Give(Address(2), 4 * kMiB));
  EXPECT_TRUE(blocks.Give(Address(3), 2 * kMiB));
  EXPECT_FALSE(blocks.Give(Address(4), 512));
  EXPECT_TRUE(blocks.TakeAny().has_value());
  EXPECT_TRUE(blocks.TakeAny().has_value());
  EXPECT_FALSE(blocks.TakeAny().has_value());
  EXPECT_EQ(blocks.bytes(), 0);
}

}  // namespace
}  // namespace tessera::cuda
