#include "apps/eval/stats.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tessera::eval {
namespace {

// Worked out by hand: 95 of 100 has its middle at (0.95 + 3.84146/200) / 1.0384146 = 0.933354 and
// half a width of 1.959964 sqrt(0.000475 + 0.0000960365) / 1.0384146 = 0.045103.
TEST(Wilson, AgreesWithHandComputedIntervals) {
  const Interval most = Wilson(95, 100);
  EXPECT_NEAR(most.low, 0.888251, 2e-6);
  EXPECT_NEAR(most.high, 0.978457, 2e-6);
  // None of n: the upper end is z^2 / (n + z^2).
  const Interval none = Wilson(0, 10);
  EXPECT_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 3.841459 / 13.841459, 1e-6);
  const Interval all = Wilson(10, 10);
  EXPECT_NEAR(all.low, 10 / 13.841459, 1e-6);
  EXPECT_NEAR(all.high, 1, 1e-12);
}

TEST(Wilson, KnowsNothingWithoutCases) {
  EXPECT_EQ(Wilson(0, 0).low, 0);
  EXPECT_EQ(Wilson(0, 0).high, 1);
}

// Scores 0, 0.5, 1: mean 0.5, variance 0.25, standard error 0.5 / sqrt(3) = 0.288675.
TEST(MeanInterval, UsesTheStandardError) {
  const Interval interval = MeanInterval(1.5, 1.25, 3);
  EXPECT_NEAR(interval.low, 0, 1e-12) << "cut at 0: 0.5 - 0.5658 is below";
  EXPECT_NEAR(interval.high, 1, 1e-12);
  // Ten times as many of each: the variance is 5/29, the error sqrt(0.172414 / 30) = 0.0758098.
  const Interval narrow = MeanInterval(15, 12.5, 30);
  EXPECT_NEAR(narrow.low, 0.5 - 1.959964 * 0.0758098, 1e-5);
  EXPECT_NEAR(narrow.high, 0.5 + 1.959964 * 0.0758098, 1e-5);
  EXPECT_EQ(MeanInterval(1, 1, 1).low, 0) << "one case says nothing";
}

TEST(Aup, OnePointIsItsRectangle) { EXPECT_NEAR(Aup({{2.5, 0.8}}, 0.9), 200, 1e-9); }

// 1 * 80 + (2 - 1) (80 + 80) / 2 + (4 - 2) (80 + 78 exp(-3 (1 - 78/80))) / 2
//   = 80 + 80 + 80 + 78 * 0.9277435 = 312.36399.
TEST(Aup, AddsWeightedTrapezoids) {
  EXPECT_NEAR(Aup({{4, 0.78}, {1, 0.8}, {2, 0.8}}, 0.8), 312.36399, 1e-4);
}

TEST(Aup, LeavesOutPointsFarBelowTheFirst) {
  const double without = Aup({{1, 0.8}, {2, 0.8}}, 0.8);
  EXPECT_NEAR(Aup({{1, 0.8}, {2, 0.8}, {16, 0.74}}, 0.8), without, 1e-9);
  EXPECT_GT(Aup({{1, 0.8}, {2, 0.8}, {16, 0.75}}, 0.8), without) << "five points are allowed";
}

TEST(Aup, IsZeroForNothing) {
  EXPECT_EQ(Aup({}, 0.8), 0);
  EXPECT_EQ(Aup({{1, 0}, {2, 0}}, 0), 0);
}

TEST(CostAt, FollowsTheUpperEnvelope) {
  const std::vector<CostPoint> curve = {{10, 0.9}, {2, 0.5}, {4, 0.7}, {5, 0.6}};
  EXPECT_NEAR(CostAt(curve, 0.7), 4, 1e-12);
  EXPECT_NEAR(CostAt(curve, 0.6), 3, 1e-12);  // half way from (2, 0.5) to (4, 0.7)
  EXPECT_NEAR(CostAt(curve, 0.8), 7, 1e-12);  // (5, 0.6) is below the envelope
  EXPECT_NEAR(CostAt(curve, 0.5), 2, 1e-12);
  EXPECT_LT(CostAt(curve, 0.95), 0);
  EXPECT_LT(CostAt(curve, 0.4), 0);
  EXPECT_LT(CostAt({}, 0.4), 0);
}

TEST(Limits, AreTheClosedForms) {
  EXPECT_NEAR(ShuffleLimit(3, 3), 5.0 / 27, 1e-12);  // (n! - 1) / n^n
  EXPECT_NEAR(ShuffleLimit(4, 4), 23.0 / 256, 1e-12);
  EXPECT_NEAR(ShuffleLimit(6, 6), 719.0 / 46656, 1e-12);
  EXPECT_NEAR(ShuffleLimit(4, 1), 23.0 / 24, 1e-12);  // only the given order is wrong
  // Two steps of two: 4!/(2! 4^2) * 2!/(0! 2^2) = 3/4 * 1/2.
  EXPECT_NEAR(ShuffleLimit(4, 2), 0.375 * 23 / 24, 1e-12);
  EXPECT_NEAR(ReplaceLimit(3), 4.0 / 9, 1e-12);
  EXPECT_NEAR(ReplaceLimit(1000), std::exp(-1), 1e-3);
}

// The closed form against what it stands for: independent draws, counted.
TEST(Limits, AgreeWithCountingAllDraws) {
  for (const int n : {3, 4}) {
    int right = 0, all = 1;
    for (int i = 0; i < n; ++i) all *= n;
    for (int draw = 0; draw < all; ++draw) {
      int seen = 0, order = 0, rest = draw;
      for (int i = 0; i < n; ++i, rest /= n) {
        seen |= 1 << (rest % n);
        order += rest % n == i;
      }
      right += seen == (1 << n) - 1 && order < n;
    }
    EXPECT_NEAR(ShuffleLimit(n, n), static_cast<double>(right) / all, 1e-12) << n;
  }
}

}  // namespace
}  // namespace tessera::eval
