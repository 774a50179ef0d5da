#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

TEST(LocalLeapRule, RelaxesOnlyNearAnAnchor) {
  RuleUnderTest rule(commit::LocalLeap(), {{"radius", "2"}});
  // The anchor stands at 2; 0.8 at 0 and 4 is in reach, at 5 it is not.
  EXPECT_EQ(rule.Select({0.8f, 0.74f, 0.95f, 0.75f, 0.8f, 0.8f}), (Indices{0, 2, 3, 4}));
}

TEST(LocalLeapRule, WithoutAnAnchorOnlyTheBest) {
  RuleUnderTest rule(commit::LocalLeap());
  EXPECT_EQ(rule.Select({0.8f, 0.89f, 0.85f}), (Indices{1}));
}

TEST(LocalLeapRule, RadiusZeroIsThreshold) {
  RuleUnderTest leap(commit::LocalLeap(), {{"radius", "0"}, {"anchor", "0.7"}});
  RuleUnderTest threshold(commit::Threshold(), {{"threshold", "0.7"}});
  const std::vector<float> confidences = {0.2f, 0.7f, 0.69f, 0.9f, 0.75f};
  EXPECT_EQ(leap.Select(confidences), threshold.Select(confidences));
}

TEST(LocalLeapRule, DecayRaisesTheLevelWithDistance) {
  RuleUnderTest rule(commit::LocalLeap(),
                     {{"radius", "3"}, {"anchor", "0.9"}, {"relaxed", "0.6"}, {"decay", "on"}});
  // Levels at distance 1, 2, 3: 0.6, 0.7, 0.8.
  EXPECT_EQ(rule.Select({0.95f, 0.65f, 0.65f, 0.81f}), (Indices{0, 1, 3}));
}

TEST(LocalLeapRule, DecidedTokensAreAnchorsOnlyWhenAsked) {
  const std::vector<Decided> decided = {{.position = 4, .token = 1, .placed = 0.99f}};
  RuleUnderTest step(commit::LocalLeap());
  RuleUnderTest both(commit::LocalLeap(), {{"anchors", "decided"}});
  EXPECT_FALSE(step.rule().needs().decided);
  EXPECT_TRUE(both.rule().needs().decided);
  EXPECT_EQ(both.Select({0.8f, 0.76f, 0.1f}, 0, decided), (Indices{0, 1}));
  EXPECT_EQ(step.Select({0.8f, 0.76f, 0.1f}), (Indices{0}));
  const std::vector<Decided> prompt = {{.position = 4, .token = 1, .placed = 0.99f, .given = true}};
  EXPECT_EQ(both.Select({0.8f, 0.76f, 0.1f}, 0, prompt), (Indices{0}));
}

}  // namespace
}  // namespace tessera::decode
