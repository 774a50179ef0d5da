#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

TEST(ThresholdRule, CommitsWhatReachesItAndAlwaysTheBest) {
  RuleUnderTest rule(commit::Threshold(), {{"threshold", "0.9"}});
  EXPECT_EQ(rule.Select({0.95f, 0.2f, 0.9f, 0.89f}), (Indices{0, 2}));
  EXPECT_EQ(rule.Select({0.1f, 0.3f, 0.2f}), (Indices{1}));
}

TEST(ThresholdRule, StrictLeavesEqualityOut) {
  RuleUnderTest rule(commit::Threshold(), {{"threshold", "0.5"}, {"strict", "on"}});
  EXPECT_EQ(rule.Select({0.5f, 0.6f, 0.5f}), (Indices{1}));
}

TEST(ThresholdRule, TiesGoToTheLeft) {
  RuleUnderTest rule(commit::Threshold(), {{"threshold", "1.5"}});
  EXPECT_EQ(rule.Select({0.4f, 0.7f, 0.7f}), (Indices{1}));
}

}  // namespace
}  // namespace tessera::decode
