#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

// Oracle 8: with every confidence between low and the threshold, steps commit 1, then at most 2,
// then at most 4 tokens, one per run.
TEST(HierarchicalRule, SplitsEveryRunOncePerStep) {
  RuleUnderTest rule(commit::Hierarchical());
  std::vector<int32_t> undecided(31);
  for (int32_t i = 0; i < 31; ++i) undecided[static_cast<size_t>(i)] = i;
  // Best in the middle of each run: the binary order of an ideal model.
  const auto confidence = [](int32_t position) {
    int32_t zeros = 0;
    while (((position + 1) >> zeros) % 2 == 0) ++zeros;
    return 0.5f + 0.05f * static_cast<float>(zeros);
  };
  std::vector<size_t> counts;
  while (!undecided.empty()) {
    std::vector<float> confidences;
    for (const int32_t position : undecided) confidences.push_back(confidence(position));
    const Indices chosen = rule.SelectAt(undecided, confidences);
    counts.push_back(chosen.size());
    for (auto it = chosen.rbegin(); it != chosen.rend(); ++it) {
      undecided.erase(undecided.begin() + *it);
    }
  }
  EXPECT_EQ(counts, (std::vector<size_t>{1, 2, 4, 8, 16}));
}

TEST(HierarchicalRule, TakesAllAboveTheThresholdAndTheBestIfNothingQualifies) {
  RuleUnderTest rule(commit::Hierarchical());
  EXPECT_EQ(rule.Select({0.95f, 0.5f, 0.91f, 0.9f}), (Indices{0, 2}));
  EXPECT_EQ(rule.Select({0.1f, 0.3f, 0.2f}), (Indices{1})) << "all at or below low";
  EXPECT_EQ(rule.SelectAt({0, 1, 5, 6}, {0.5f, 0.6f, 0.3f, 0.35f}), (Indices{1}))
      << "the second run has nothing above low";
}

TEST(HierarchicalRule, RevokesFewerThanItCommits) {
  RuleUnderTest rule(commit::Hierarchical(), {{"revoke", "0.4"}, {"threshold", "0.5"}});
  const RowStats row;
  const std::vector<Decided> decided = {
      {.position = 10, .token = 1, .stats = &row, .probability = 0.3f},
      {.position = 11, .token = 1, .fixed = true, .stats = &row, .probability = 0.0f},
      {.position = 12, .token = 1, .stats = &row, .probability = 0.1f},
      {.position = 13, .token = 1, .stats = &row, .probability = 0.4f},
      {.position = 14, .token = 1}};
  rule.Select({0.6f, 0.6f}, 16, decided);
  EXPECT_EQ(rule.revision().remasks, (Indices{2})) << "two commits allow one";
  rule.Select({0.6f, 0.6f, 0.6f}, 16, decided);
  EXPECT_EQ(rule.revision().remasks, (Indices{2, 0}));
  rule.Select(std::vector<float>(5, 0.6f), 16, decided);
  EXPECT_EQ(rule.revision().remasks, (Indices{2, 0})) << "fixed, unknown and probable ones stay";
  rule.Select({0.6f}, 16, decided);
  EXPECT_TRUE(rule.revision().remasks.empty());
}

TEST(HierarchicalRule, WithoutRevokeItAsksForNothing) {
  EXPECT_FALSE(RuleUnderTest(commit::Hierarchical()).rule().needs().decided_rows);
}

}  // namespace
}  // namespace tessera::decode
