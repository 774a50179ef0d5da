#include <cmath>

#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

// Position 0 over a vocabulary of three; the rule sees the probabilities it probes.
RowStats Row(RuleUnderTest& rule, const std::vector<float>& p) {
  RowStats stats;
  stats.argmax = stats.sampled = 0;
  stats.p1 = stats.p_sampled = p[0];
  for (size_t v = 0; v < p.size(); ++v) {
    stats.top.emplace_back(static_cast<TokenId>(v), std::log(p[v]));
  }
  std::vector<TokenId> probe;
  rule.rule().Probe(0, &probe);
  for (const TokenId id : probe) stats.p_probe.push_back(p[static_cast<size_t>(id)]);
  return stats;
}

// Position 0 is followed; position 1 is always more confident and never stable.
Indices Step(RuleUnderTest& rule, const std::vector<float>& p) {
  RowStats other;
  other.p1 = other.p_sampled = 0.99f;
  return rule.SelectWith({0, 1}, {Row(rule, p), other}, 2);
}

TEST(KlassRule, CommitsWhatIsConfidentAndHasBeenStableLongEnough) {
  RuleUnderTest rule(commit::Klass(), {{"least", "0.6"}, {"kl", "0.01"}, {"history", "2"}});
  const std::vector<float> p = {0.7f, 0.2f, 0.1f};
  EXPECT_EQ(Step(rule, p), (Indices{1})) << "nothing qualifies: the quota's best";
  EXPECT_EQ(Step(rule, p), (Indices{1})) << "one divergence is not two";
  EXPECT_EQ(Step(rule, p), (Indices{0}));
}

TEST(KlassRule, AChangeStartsTheCountAnew) {
  RuleUnderTest rule(commit::Klass(), {{"least", "0.6"}, {"kl", "0.01"}, {"history", "1"}});
  Step(rule, {0.7f, 0.2f, 0.1f});
  // KL = 0.9 ln(0.9/0.7) + 0.05 ln(0.05/0.2) + 0.05 ln(0.05/0.1) = 0.122
  EXPECT_EQ(Step(rule, {0.9f, 0.05f, 0.05f}), (Indices{1}));
  EXPECT_EQ(Step(rule, {0.9f, 0.05f, 0.05f}), (Indices{0}));
}

TEST(KlassRule, MeasuresTheDivergenceOfTheListedTokensAndTheRest) {
  for (const char* kl : {"0.121", "0.123"}) {
    RuleUnderTest rule(commit::Klass(), {{"least", "0.6"}, {"kl", kl}, {"history", "1"}});
    Step(rule, {0.7f, 0.2f, 0.1f});
    EXPECT_EQ(Step(rule, {0.9f, 0.05f, 0.05f}),
              kl == std::string("0.123") ? (Indices{0}) : (Indices{1}));
  }
}

}  // namespace
}  // namespace tessera::decode
