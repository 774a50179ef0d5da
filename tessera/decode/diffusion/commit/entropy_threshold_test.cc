#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

std::vector<RowStats> Entropies(const std::vector<float>& entropies) {
  std::vector<RowStats> stats(entropies.size());
  for (size_t i = 0; i < stats.size(); ++i) stats[i].entropy = entropies[i];
  return stats;
}

TEST(EntropyThresholdRule, CommitsWhatIsCertainAndAlwaysTheMostCertain) {
  RuleUnderTest rule(commit::EntropyThreshold(), {{"entropy", "0.5"}});
  EXPECT_EQ(rule.SelectFrom(Entropies({0.2f, 0.6f, 0.5f, 3.0f})), (Indices{0, 2}));
  EXPECT_EQ(rule.SelectFrom(Entropies({2.0f, 0.7f, 0.7f})), (Indices{1})) << "ties go to the left";
}

TEST(EntropyThresholdRule, BelowZeroIsOnePerStep) {
  RuleUnderTest rule(commit::EntropyThreshold(), {{"entropy", "-1"}});
  EXPECT_EQ(rule.SelectFrom(Entropies({0, 0, 0})), (Indices{0}));
}

// Confidence and entropy may disagree: an even pair is less certain than its probability says.
TEST(EntropyThresholdRule, LooksAtEntropyNotAtConfidence) {
  RuleUnderTest rule(commit::EntropyThreshold(), {{"entropy", "0.5"}});
  std::vector<RowStats> stats = Entropies({0.9f, 0.4f});
  stats[0].p1 = stats[0].p_sampled = 0.8f;
  stats[1].p1 = stats[1].p_sampled = 0.6f;
  EXPECT_EQ(rule.SelectFrom(stats), (Indices{1}));
}

}  // namespace
}  // namespace tessera::decode
