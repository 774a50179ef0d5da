#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

std::vector<RowStats> Entropies(const std::vector<float>& entropies) {
  std::vector<RowStats> stats(entropies.size());
  for (size_t i = 0; i < stats.size(); ++i) stats[i].entropy = entropies[i];
  return stats;
}

TEST(EntropyBoundedRule, SumStaysBelowGamma) {
  RuleUnderTest rule(commit::EntropyBounded(), {{"gamma", "0.5"}});
  EXPECT_EQ(rule.SelectFrom(Entropies({0.3f, 0.1f, 0.25f, 2.0f})), (Indices{1, 2}));
  EXPECT_EQ(rule.SelectFrom(Entropies({3.0f, 2.0f})), (Indices{1})) << "one at least";
}

TEST(EntropyBoundedRule, PaperBoundLeavesTheLargestOut) {
  RuleUnderTest rule(commit::EntropyBounded(), {{"gamma", "0.5"}, {"bound", "sum_minus_max"}});
  // Prefixes 0.1 | 0.1 0.25 | 0.1 0.25 0.3: sums without the largest are 0, 0.1, 0.35.
  EXPECT_EQ(rule.SelectFrom(Entropies({0.3f, 0.1f, 0.25f, 2.0f})), (Indices{0, 1, 2}));
}

}  // namespace
}  // namespace tessera::decode
