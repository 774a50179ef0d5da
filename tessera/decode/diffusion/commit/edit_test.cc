#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

RowStats Prefers(TokenId token, float probability) {
  RowStats stats;
  stats.sampled = stats.argmax = token;
  stats.p1 = stats.p_sampled = probability;
  return stats;
}

TEST(EditRule, ReplacesDecidedTokensTheModelNoLongerPrefers) {
  RuleUnderTest rule(commit::Edit(), {{"replace", "0.5"}});
  const RowStats other = Prefers(7, 0.6f), weak = Prefers(7, 0.5f), same = Prefers(3, 0.9f);
  const std::vector<Decided> decided = {{.position = 0, .token = 3, .stats = &other},
                                        {.position = 1, .token = 3, .stats = &weak},
                                        {.position = 2, .token = 3, .stats = &same},
                                        {.position = 3, .token = 3, .fixed = true, .stats = &other},
                                        {.position = 4, .token = 3}};
  const Revision revision = rule.Look(decided);
  ASSERT_EQ(revision.edits.size(), 1u);
  EXPECT_EQ(revision.edits[0].index, 0);
  EXPECT_EQ(revision.edits[0].token, 7);
  EXPECT_FLOAT_EQ(revision.edits[0].probability, 0.6f);
  EXPECT_TRUE(revision.hold) << "an edit is worth another look";
  EXPECT_FALSE(rule.Look(std::span(decided).subspan(1)).hold) << "nothing was edited";
}

TEST(EditRule, UndecidedOnesFollowTheDynamicRule) {
  RuleUnderTest edit(commit::Edit(), {{"threshold", "0.8"}, {"block_steps", "2"}});
  RuleUnderTest dynamic(commit::Dynamic(), {{"threshold", "0.8"}, {"block_steps", "2"}});
  for (const std::vector<float>& c :
       {std::vector<float>{0.9f, 0.85f, 0.81f, 0.8f}, std::vector<float>{0.3f, 0.9f, 0.2f, 0.5f}}) {
    EXPECT_EQ(edit.Select(c), dynamic.Select(c));
  }
}

TEST(EditRule, LooksAtMostSoManyTimesMore) {
  RuleUnderTest rule(commit::Edit(), {{"post_steps", "2"}});
  const RowStats other = Prefers(7, 0.6f);
  const std::vector<Decided> decided = {{.position = 0, .token = 3, .stats = &other}};
  rule.Select({0.9f});
  EXPECT_TRUE(rule.revision().hold) << "the last mask is gone";
  EXPECT_TRUE(rule.Look(decided).hold);
  EXPECT_FALSE(rule.Look(decided).hold) << "that was the second look";
}

TEST(EditRule, WithoutEditsThereIsNothingToLookFor) {
  RuleUnderTest rule(commit::Edit(), {{"replace", "1"}});
  const RowStats other = Prefers(7, 1);
  const std::vector<Decided> decided = {{.position = 0, .token = 3, .stats = &other}};
  rule.Select({0.9f}, 2, decided);
  EXPECT_TRUE(rule.revision().edits.empty());
  EXPECT_FALSE(rule.revision().hold);
}

}  // namespace
}  // namespace tessera::decode
