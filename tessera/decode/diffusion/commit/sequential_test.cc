#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

TEST(SequentialRule, TakesTheLeftmostWhateverTheirConfidence) {
  RuleUnderTest rule(commit::Sequential(), {{"block_steps", "2"}});
  EXPECT_EQ(rule.Select({0.1f, 0.2f, 0.9f, 0.9f}), (Indices{0, 1}));
  EXPECT_EQ(rule.Select({0.9f}), (Indices{0})) << "never more than there are";
}

}  // namespace
}  // namespace tessera::decode
