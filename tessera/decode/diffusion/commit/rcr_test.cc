#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

TEST(RcrRule, KeepsTheSurestOfAllSteps) {
  RuleUnderTest rule(commit::Rcr());
  // One of four per step: as the quota begins.
  EXPECT_EQ(rule.Select({0.3f, 0.5f, 0.9f, 0.4f}), (Indices{2}));
  // Two are to stay; the third, placed at 0.2, is less sure than what is written now.
  const std::vector<Decided> decided = {{.position = 2, .token = 1, .placed = 0.2f},
                                        {.position = 3, .token = 1, .placed = 0.1f, .fixed = true}};
  EXPECT_EQ(rule.SelectAt({0, 1, 4}, {0.3f, 0.5f, 0.4f}, 4, decided), (Indices{1, 2}));
  EXPECT_EQ(rule.revision().remasks, (Indices{0})) << "a fixed token stays, however unsure";
}

TEST(RcrRule, TheLastStepKeepsEverything) {
  RuleUnderTest rule(commit::Rcr(), {{"block_steps", "2"}});
  EXPECT_EQ(rule.Select({0.3f, 0.5f, 0.9f, 0.4f}), (Indices{1, 2}));
  const std::vector<Decided> decided = {{.position = 2, .token = 1, .placed = 0.1f}};
  EXPECT_EQ(rule.Select({0.3f, 0.4f}, 4, decided), (Indices{0, 1}));
  EXPECT_TRUE(rule.revision().remasks.empty());
}

TEST(RcrRule, EqualOnesGiveWayFromTheEnd) {
  RuleUnderTest rule(commit::Rcr(), {{"block_steps", "2"}});
  EXPECT_EQ(rule.Select({0.5f, 0.5f, 0.5f, 0.5f}), (Indices{0, 1}));
}

TEST(RcrRule, EveryStepLeavesFewerUndecided) {
  RuleUnderTest rule(commit::Rcr(), {{"schedule", "cosine"}});
  EXPECT_EQ(rule.Select(std::vector<float>(8, 0.5f)).size(), 1u) << "8 cos(pi / 16) is 7.8";
  EXPECT_EQ(rule.Select(std::vector<float>(7, 0.5f)).size(), 1u) << "8 cos(pi / 8) is 7.4";
  EXPECT_EQ(rule.Select(std::vector<float>(6, 0.5f)).size(), 1u) << "8 cos(3 pi / 16) is 6.7";
}

}  // namespace
}  // namespace tessera::decode
