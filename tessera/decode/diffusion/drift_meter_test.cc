#include "tessera/decode/diffusion/drift_meter.h"

#include <gtest/gtest.h>

namespace tessera::decode {
namespace {

RowStats Stats(TokenId argmax, float p1, TokenId second, float p2) {
  return {.argmax = argmax, .second = second, .p1 = p1, .p2 = p2};
}

TEST(TopTwoDistance, IsZeroForEqualPredictionsAndSymmetric) {
  const RowStats a = Stats(3, 0.6f, 5, 0.3f), b = Stats(5, 0.5f, 3, 0.4f);
  EXPECT_EQ(TopTwoDistance(a, a), 0);
  EXPECT_FLOAT_EQ(TopTwoDistance(a, b), 0.2f);
  EXPECT_FLOAT_EQ(TopTwoDistance(a, b), TopTwoDistance(b, a));
}

TEST(TopTwoDistance, KnowsAnUnlistedTokenOnlyUpToTheSecondBest) {
  EXPECT_FLOAT_EQ(TopTwoDistance(Stats(1, 0.9f, 2, 0.05f), Stats(3, 0.8f, 4, 0.1f)), 0.8f);
  // A near tie that changes places is no drift.
  EXPECT_NEAR(TopTwoDistance(Stats(1, 0.31f, 2, 0.3f), Stats(2, 0.31f, 1, 0.3f)), 0.01, 1e-6);
}

TEST(TopTwoDistance, NeverExceedsTheTotalVariation) {
  const std::vector<std::vector<float>> rows = {{0.7f, 0.1f, 0.1f, 0.1f},
                                                {0.1f, 0.2f, 0.3f, 0.4f},
                                                {0.25f, 0.26f, 0.24f, 0.25f},
                                                {0, 0, 1, 0},
                                                {0.4f, 0.4f, 0.1f, 0.1f}};
  const auto reduce = [](const std::vector<float>& p) {
    TokenId best = 0, second = -1;
    for (TokenId v = 1; v < 4; ++v) {
      if (p[static_cast<size_t>(v)] > p[static_cast<size_t>(best)]) best = v;
    }
    for (TokenId v = 0; v < 4; ++v) {
      if (v != best && (second < 0 || p[static_cast<size_t>(v)] > p[static_cast<size_t>(second)])) {
        second = v;
      }
    }
    return Stats(best, p[static_cast<size_t>(best)], second, p[static_cast<size_t>(second)]);
  };
  for (const auto& a : rows) {
    for (const auto& b : rows) {
      float variation = 0;
      for (size_t v = 0; v < 4; ++v) variation += std::abs(a[v] - b[v]) / 2;
      EXPECT_LE(TopTwoDistance(reduce(a), reduce(b)), variation + 1e-6f);
    }
  }
}

// A canvas of 8 with window [4, 8): what the meter adds to plans, and what it makes of the answers.
TEST(DriftMeter, ReadsABaselineThenShadowsThenTheRefreshedRow) {
  DriftMeter meter(/*probes=*/2, /*refresh_at=*/0.25f);
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 9, 9, 9, 9};
  const std::vector<bool> committed = {true, true, true, true, false, false, false, false};
  const SequenceView view{.tokens = tokens, .committed = &committed, .prompt_length = 4};
  const auto plan_of = [&](const RowSet& rows) {
    StepPlan plan;
    plan.positions = plan.slots = rows.positions();
    for (const int32_t position : plan.positions) {
      plan.tokens.push_back(tokens[static_cast<size_t>(position)]);
    }
    const RowSet keys(0, 8);
    meter.AddTo(view, {.computed = rows, .keys = keys, .begin = 4, .end = 8, .scratch = 100},
                &plan);
    return plan;
  };
  const StepPlan full = plan_of(RowSet(0, 8));
  ASSERT_EQ(full.out.size(), 2u);
  EXPECT_EQ(full.out[0].position, 1);
  EXPECT_EQ(full.out[1].position, 3);
  EXPECT_EQ(full.probes, 0) << "computed anyway";
  const std::vector<RowStats> baseline = {Stats(1, 0.9f, 2, 0.1f), Stats(1, 0.5f, 2, 0.25f)};
  EXPECT_LT(meter.Read(baseline), 0);

  const StepPlan window = plan_of(RowSet(4, 8));
  ASSERT_EQ(window.probes, 2);
  EXPECT_EQ(window.tokens.back(), 4);
  EXPECT_EQ(window.slots[5], 101);
  EXPECT_EQ(window.groups[1].keys, (std::vector<SlotRange>{{0, 3}, {4, 8}, {101, 102}}))
      << "in place of the reused row";
  const std::vector<RowStats> moved = {Stats(1, 0.7f, 2, 0.2f), Stats(1, 0.1f, 3, 0.05f)};
  EXPECT_FLOAT_EQ(meter.Read(moved), (0.2f + 0.4f) / 2);
  EXPECT_TRUE(meter.refresh_wanted());

  const StepPlan refresh = plan_of(RowSet(0, 8));
  EXPECT_EQ(refresh.out.size(), 4u) << "the old probes once more, and new ones";
  const std::vector<RowStats> now = {moved[0], moved[1], moved[0], moved[1]};
  EXPECT_FLOAT_EQ(meter.Read(now), (0.2f + 0.4f) / 2);
  EXPECT_FALSE(meter.refresh_wanted()) << "everything is fresh";
}

}  // namespace
}  // namespace tessera::decode
