#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

TEST(RemdmRule, WithoutExtraStepsItIsTheQuota) {
  RuleUnderTest remdm(commit::Remdm(), {{"extra", "0"}, {"block_steps", "2"}});
  RuleUnderTest quota(commit::Quota(), {{"block_steps", "2"}});
  for (const std::vector<float>& c :
       {std::vector<float>{0.3f, 0.5f, 0.9f, 0.4f}, std::vector<float>{0.3f, 0.4f}}) {
    EXPECT_EQ(remdm.Select(c), quota.Select(c));
    EXPECT_TRUE(remdm.revision().remasks.empty());
  }
}

TEST(RemdmRule, TakesBackTheLeastSureBeforeAnExtraStep) {
  // A block of 8: the extra step comes after 4 of one token each.
  RuleUnderTest rule(commit::Remdm(), {{"extra", "1"}, {"number", "2"}, {"from", "0.5"}});
  for (size_t left = 8; left > 5; --left) {
    EXPECT_EQ(rule.Select(std::vector<float>(left, 0.5f), 8).size(), 1u);
  }
  const std::vector<Decided> decided = {{.position = 0, .token = 1, .placed = 0.1f, .fixed = true},
                                        {.position = 1, .token = 1, .placed = 0.6f},
                                        {.position = 2, .token = 1, .placed = 0.4f}};
  EXPECT_EQ(rule.SelectAt({3, 4, 5, 6, 7}, std::vector<float>(5, 0.5f), 8, decided), Indices{})
      << "what this step would place is the second least sure";
  EXPECT_EQ(rule.revision().remasks, (Indices{2}));
  EXPECT_EQ(rule.Select(std::vector<float>(6, 0.5f), 8).size(), 2u) << "as many come back";
  EXPECT_TRUE(rule.revision().remasks.empty());
  EXPECT_EQ(rule.Select(std::vector<float>(4, 0.5f), 8).size(), 1u) << "and the quota goes on";
}

TEST(RemdmRule, AStepThatWouldBeRepeatedEndsTheExtraOnes) {
  RuleUnderTest rule(commit::Remdm(), {{"extra", "3"}, {"number", "1"}, {"from", "0"}});
  EXPECT_EQ(rule.Select({0.5f, 0.6f}), (Indices{1})) << "nothing else could be taken back";
  const std::vector<Decided> decided = {{.position = 1, .token = 1, .placed = 0.1f}};
  EXPECT_EQ(rule.SelectAt({0}, {0.5f}, 2, decided), (Indices{0}));
  EXPECT_TRUE(rule.revision().remasks.empty());
}

}  // namespace
}  // namespace tessera::decode
