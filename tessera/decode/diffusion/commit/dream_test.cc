#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

RowStats Row(float p1, float p2, float entropy) {
  RowStats row;
  row.p1 = row.p_sampled = p1;
  row.p2 = p2;
  row.entropy = entropy;
  return row;
}

// Three rows on which the three scores disagree about the best.
const std::vector<RowStats> kRows = {Row(0.60f, 0.30f, 0.9f), Row(0.59f, 0.10f, 1.2f),
                                     Row(0.58f, 0.40f, 0.7f)};

std::vector<int32_t> First(const char* order) {
  RuleUnderTest rule(commit::Dream(), {{"order", order}, {"steps", "2"}, {"eps", "0.3"}});
  // One step of two: 3 * (1 - 0.65 / 1) = 1.05 commits one.
  return rule.SelectFrom(kRows);
}

TEST(DreamRule, OrdersDiffer) {
  EXPECT_EQ(First("maskgit_plus"), (Indices{0}));
  EXPECT_EQ(First("topk_margin"), (Indices{1}));
  EXPECT_EQ(First("entropy"), (Indices{2}));
}

TEST(DreamRule, LastStepTakesTheRest) {
  RuleUnderTest rule(commit::Dream(), {{"steps", "1"}});
  EXPECT_EQ(rule.SelectFrom(kRows), (Indices{0, 1, 2}));
}

TEST(DreamRule, OriginDrawsEachPositionAtTheScheduledRate) {
  // First of two steps from 1 to 0: half of 1000 positions, within five standard deviations.
  RuleUnderTest rule(commit::Dream(), {{"order", "origin"}, {"steps", "2"}, {"eps", "0"}});
  const size_t count = rule.SelectFrom(std::vector<RowStats>(1000)).size();
  EXPECT_GT(count, 420u);
  EXPECT_LT(count, 580u);
}

TEST(DreamRule, TemperatureOfTheOrderMakesItRandomButNotTheCount) {
  RuleUnderTest cold(commit::Dream(), {{"steps", "4"}});
  RuleUnderTest warm(commit::Dream(), {{"steps", "4"}, {"alg_temp", "100"}});
  std::vector<RowStats> rows;
  for (int i = 0; i < 100; ++i) rows.push_back(Row(0.5f, 0.1f, 0.01f * static_cast<float>(i)));
  const auto best = cold.SelectFrom(rows), drawn = warm.SelectFrom(rows);
  EXPECT_EQ(best.size(), drawn.size());
  EXPECT_NE(best, drawn);
}

}  // namespace
}  // namespace tessera::decode
