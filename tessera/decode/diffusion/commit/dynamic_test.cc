#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

TEST(DynamicRule, TakesAllAboveTheThresholdButAtLeastTheQuota) {
  RuleUnderTest rule(commit::Dynamic(), {{"threshold", "0.8"}, {"block_steps", "2"}});
  EXPECT_EQ(rule.Select({0.9f, 0.85f, 0.81f, 0.8f}), (Indices{0, 1, 2})) << "0.8 is not above 0.8";
  EXPECT_EQ(rule.Select({0.3f, 0.9f, 0.2f, 0.5f}), (Indices{1, 3})) << "the quota is 2";
}

}  // namespace
}  // namespace tessera::decode
