#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

TEST(QuotaRule, SpreadsOddNumbersOverTheFirstSteps) {
  EXPECT_EQ(LinearQuota(7, 3, 0), 3);
  EXPECT_EQ(LinearQuota(7, 3, 1), 2);
  EXPECT_EQ(LinearQuota(7, 3, 2), 2);
  EXPECT_EQ(LinearQuota(7, 3, 3), 7) << "past the schedule everything is due";
}

TEST(QuotaRule, TakesTheMostConfident) {
  RuleUnderTest rule(commit::Quota(), {{"steps", "2"}});
  EXPECT_EQ(rule.Select({0.1f, 0.9f, 0.5f, 0.7f}), (Indices{1, 3}));
  EXPECT_EQ(rule.Select({0.1f, 0.5f}), (Indices{0, 1}));
}

TEST(QuotaRule, BlockStepsCountThePositionsOfTheBlock) {
  RuleUnderTest rule(commit::Quota(), {{"block_steps", "2"}});
  EXPECT_EQ(rule.Select({0.1f, 0.9f, 0.5f}, /*window_length=*/4), (Indices{1, 2}));
}

TEST(QuotaRule, RandomOrderIsAFunctionOfTheKey) {
  RuleUnderTest a(commit::Quota(), {{"steps", "4"}, {"remasking", "random"}});
  RuleUnderTest b(commit::Quota(), {{"steps", "4"}, {"remasking", "random"}});
  const std::vector<float> confidences = {0.1f, 0.9f, 0.5f, 0.7f};
  EXPECT_EQ(a.Select(confidences), b.Select(confidences));
}

TEST(QuotaRule, RefusesStepsThatDoNotDivideIntoBlocks) {
  RuleUnderTest rule(commit::Quota(), {{"steps", "10"}});
  EXPECT_FALSE(rule.rule().Begin({.undecided = 32, .num_windows = 4}).ok());
  EXPECT_TRUE(rule.rule().Begin({.undecided = 32, .num_windows = 5}).ok());
}

}  // namespace
}  // namespace tessera::decode
