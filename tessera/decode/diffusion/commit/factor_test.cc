#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

// With f = 1 the levels of ranks 2, 3, 4 are 2/3, 3/4, 4/5.
TEST(FactorRule, KeepsRanksUntilTheFirstFailure) {
  RuleUnderTest rule(commit::Factor(), {{"factor", "1"}});
  EXPECT_EQ(rule.Select({0.8f, 0.7f, 0.2f}), (Indices{0, 1})) << "rank 3 has 0.2 < 0.75";
  EXPECT_EQ(rule.Select({0.6f, 0.9f, 0.1f}), (Indices{1})) << "rank 2 has 0.6 < 0.667";
  EXPECT_EQ(rule.Select({0.99f, 0.98f, 0.97f, 0.96f}), (Indices{0, 1, 2, 3}));
}

TEST(FactorRule, QuirkForgivesTheLastRankOnly) {
  RuleUnderTest rule(commit::Factor(), {{"factor", "1"}, {"quirk", "on"}});
  EXPECT_EQ(rule.Select({0.9f, 0.1f}), (Indices{0, 1}));
  EXPECT_EQ(rule.Select({0.9f, 0.1f, 0.05f}), (Indices{0}));
}

}  // namespace
}  // namespace tessera::decode
