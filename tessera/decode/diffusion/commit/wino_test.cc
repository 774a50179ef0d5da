#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

TEST(WinoRule, CommitsManyButNotAll) {
  RuleUnderTest rule(commit::Wino());
  EXPECT_EQ(rule.Select(std::vector<float>(32, 0.7f)).size(), 20u);
  RuleUnderTest small(commit::Wino());
  EXPECT_EQ(small.Select(std::vector<float>(8, 0.7f)).size(), 5u);
  RuleUnderTest unsure(commit::Wino());
  EXPECT_EQ(unsure.Select({0.1f, 0.6f, 0.2f}), (Indices{1})) << "0.6 is not above 0.6";
}

TEST(WinoRule, TakesBackWhatTheShadowDoubts) {
  RuleUnderTest rule(commit::Wino());
  EXPECT_TRUE(rule.rule().needs().shadow_rows);
  const std::vector<Decided> decided = {{.position = 0, .token = 1, .shadow = 0.5f},
                                        {.position = 1, .token = 1, .fixed = true, .shadow = 0.1f},
                                        {.position = 2, .token = 1, .shadow = 0.2f},
                                        {.position = 3, .token = 1, .shadow = 0.9f}};
  rule.Select({0.7f, 0.7f, 0.7f, 0.1f}, 8, decided);
  EXPECT_TRUE(rule.revision().remasks.empty()) << "the first step has nothing before it";
  rule.Select({0.7f, 0.7f, 0.1f}, 8, decided);
  EXPECT_EQ(rule.revision().remasks, (Indices{2, 0})) << "three commits before allow two";
  rule.Select({0.7f, 0.7f}, 8, decided);
  EXPECT_EQ(rule.revision().remasks, (Indices{2})) << "two allow one, the least probable";
  rule.Select({0.1f}, 8, decided);
  EXPECT_TRUE(rule.revision().remasks.empty()) << "a single commit takes nothing back";
}

}  // namespace
}  // namespace tessera::decode
