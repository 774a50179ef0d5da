#include "tessera/decode/diffusion/row_set.h"

#include <gtest/gtest.h>

#include <set>

#include "tessera/base/rng.h"

namespace tessera::decode {
namespace {

using Ranges = std::vector<SlotRange>;

TEST(RowSet, JoinsWhatTouchesAndKeepsOrder) {
  RowSet set;
  set.Add(8, 10);
  set.Add(2, 4);
  set.Add(5, 5);
  EXPECT_EQ(set.ranges(), (Ranges{{2, 4}, {8, 10}}));
  set.Add(4, 8);
  EXPECT_EQ(set.ranges(), (Ranges{{2, 10}}));
  EXPECT_EQ(set.size(), 8);
}

TEST(RowSet, MinusSplitsARange) {
  RowSet holes(3, 4);
  holes.Add(6, 20);
  EXPECT_EQ(RowSet(0, 10).Minus(holes).ranges(), (Ranges{{0, 3}, {4, 6}}));
  EXPECT_TRUE(RowSet(3, 4).Minus(RowSet(0, 9)).empty());
}

// Against std::set on random sets: every operation, canonical form included.
TEST(RowSet, AgreesWithASetOfPositions) {
  constexpr int32_t kPositions = 24;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RowSet sets[2];
    std::set<int32_t> plain[2];
    uint32_t draw = 0;
    const auto next = [&](int32_t below) {
      return static_cast<int32_t>(Uniform({.seed = seed}, RngPurpose::kTest, draw++) * below);
    };
    for (int side = 0; side < 2; ++side) {
      for (int32_t count = next(6); count > 0; --count) {
        const int32_t begin = next(kPositions), end = begin + next(5);
        sets[side].Add(begin, end);
        for (int32_t p = begin; p < end; ++p) plain[side].insert(p);
      }
    }
    RowSet both = sets[0];
    both.Add(sets[1]);
    const RowSet common = sets[0].Intersect(sets[1]), rest = sets[0].Minus(sets[1]);
    for (int32_t p = 0; p < kPositions + 5; ++p) {
      const bool a = plain[0].contains(p), b = plain[1].contains(p);
      ASSERT_EQ(both.Contains(p), a || b) << seed << " " << p;
      ASSERT_EQ(common.Contains(p), a && b) << seed << " " << p;
      ASSERT_EQ(rest.Contains(p), a && !b) << seed << " " << p;
    }
    for (const RowSet& set : {both, common, rest}) {
      for (size_t i = 1; i < set.ranges().size(); ++i) {
        ASSERT_GT(set.ranges()[i].begin, set.ranges()[i - 1].end) << seed;
      }
      ASSERT_EQ(set.positions().size(), static_cast<size_t>(set.size()));
    }
  }
}

}  // namespace
}  // namespace tessera::decode
