#include <cmath>

#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

std::vector<double> Softmax(const std::vector<double>& logits) {
  double total = 0;
  std::vector<double> p;
  for (const double logit : logits) total += std::exp(logit);
  for (const double logit : logits) p.push_back(std::exp(logit) / total);
  return p;
}

size_t Best(const std::vector<double>& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

// What the device would return for these logits, with the ids that the rule probes.
RowStats StatsOf(const std::vector<double>& logits, const std::vector<TokenId>& probe) {
  const std::vector<double> p = Softmax(logits);
  RowStats stats;
  stats.argmax = stats.sampled = static_cast<TokenId>(Best(p));
  stats.p1 = stats.p_sampled = static_cast<float>(p[Best(p)]);
  stats.top = {{stats.argmax, static_cast<float>(std::log(p[Best(p)]))}};
  for (const TokenId id : probe) {
    stats.p_probe.push_back(static_cast<float>(p[static_cast<size_t>(id)]));
  }
  return stats;
}

// The method as published, with a dense credit matrix over the vocabulary.
class Dense {
 public:
  Dense(double alpha, double beta, double gamma) : alpha_(alpha), beta_(beta), gamma_(gamma) {}
  std::vector<double> Fused(size_t position, const std::vector<double>& logits, bool first) {
    std::vector<double>& credit = credit_[position];
    credit.resize(logits.size(), 0);
    const std::vector<double> p = Softmax(logits);
    if (!first) {
      for (double& c : credit) c *= beta_;
    }
    credit[Best(p)] += std::pow(p[Best(p)], gamma_);
    std::vector<double> fused = logits;
    for (size_t v = 0; v < fused.size(); ++v) fused[v] += alpha_ * std::log(1 + credit[v]);
    return Softmax(fused);
  }

 private:
  double alpha_, beta_, gamma_;
  std::map<size_t, std::vector<double>> credit_;
};

// A walk in which the best token of a position changes now and then.
std::vector<double> Logits(size_t position, int32_t step) {
  std::vector<double> logits(40, 0);
  for (size_t v = 0; v < logits.size(); ++v) {
    const RngKey key{.seed = 9, .position = static_cast<int32_t>(position), .step = step};
    logits[v] = 2 * Uniform(key, RngPurpose::kTest, static_cast<uint32_t>(v));
  }
  logits[position % 5] += 0.4 * step + 1.5;
  logits[position % 7 + 5] += step % 3 == 1 ? 2.5 : 0;
  return logits;
}

TEST(CreditRule, SparseEqualsDenseOnATrace) {  // oracle 7
  const char* alpha = "0.9";
  RuleUnderTest rule(commit::Credit(), {{"alpha", alpha}, {"threshold", "0.7"}});
  Dense dense(0.9, 0.8, 0.2);
  std::vector<int32_t> undecided = {0, 1, 2, 3, 4, 5, 6, 7};
  int32_t raised = 0;
  for (int32_t step = 0; step < 12 && !undecided.empty(); ++step) {
    std::vector<RowStats> stats;
    std::vector<std::vector<double>> fused;
    for (const int32_t position : undecided) {
      std::vector<TokenId> probe;
      rule.rule().Probe(position, &probe);
      ASSERT_LE(probe.size(), 8u);
      const std::vector<double> logits = Logits(static_cast<size_t>(position), step);
      stats.push_back(StatsOf(logits, probe));
      fused.push_back(dense.Fused(static_cast<size_t>(position), logits, step == 0));
    }
    const Indices chosen = rule.SelectWith(undecided, stats, /*window_length=*/8);
    size_t best = 0;
    Indices expected;
    for (size_t i = 0; i < fused.size(); ++i) {
      if (fused[i][Best(fused[i])] > fused[best][Best(fused[best])]) best = i;
    }
    for (size_t i = 0; i < fused.size(); ++i) {
      const Candidate& candidate = rule.candidates()[i];
      EXPECT_EQ(candidate.token, static_cast<TokenId>(Best(fused[i])));
      EXPECT_NEAR(candidate.confidence, fused[i][Best(fused[i])], 1e-5);
      raised += candidate.confidence > stats[i].p1 + 0.01f;
      if (i == best || fused[i][Best(fused[i])] >= 0.7) expected.push_back(static_cast<int32_t>(i));
    }
    EXPECT_EQ(chosen, expected) << "step " << step;
    for (auto it = chosen.rbegin(); it != chosen.rend(); ++it) {
      undecided.erase(undecided.begin() + *it);
    }
  }
  EXPECT_GT(raised, 10) << "the trace must exercise the credit";
}

// The bound of the method's own arithmetic: with credit saturated at 1 / (1 - beta) and p near 1,
// the boost is alpha ln(1 + 1 / (1 - beta)) = 1.25 nats.
TEST(CreditRule, BoostIsBounded) {
  RuleUnderTest rule(commit::Credit(), {{"gamma", "0"}});
  const std::vector<double> logits = {std::log(0.72), std::log(0.28)};
  float confidence = 0;
  for (int32_t step = 0; step < 200; ++step) {
    std::vector<TokenId> probe;
    rule.rule().Probe(0, &probe);
    rule.SelectWith({0}, {StatsOf(logits, probe)}, 1);
    confidence = rule.candidates()[0].confidence;
  }
  const double boost = std::pow(6, 0.7);
  EXPECT_NEAR(confidence, 0.72 * boost / (0.72 * boost + 0.28), 1e-4);
}

TEST(CreditRule, AlphaZeroIsThreshold) {  // oracle 7
  RuleUnderTest credit(commit::Credit(), {{"alpha", "0"}, {"threshold", "0.4"}});
  RuleUnderTest threshold(commit::Threshold(), {{"threshold", "0.4"}});
  for (int32_t step = 0; step < 5; ++step) {
    std::vector<RowStats> stats;
    for (int32_t position = 0; position < 6; ++position) {
      std::vector<TokenId> probe;
      credit.rule().Probe(position, &probe);
      stats.push_back(StatsOf(Logits(static_cast<size_t>(position), step), probe));
    }
    const std::vector<int32_t> positions = {0, 1, 2, 3, 4, 5};
    EXPECT_EQ(credit.SelectWith(positions, stats, 6), threshold.SelectWith(positions, stats, 6));
    for (size_t i = 0; i < stats.size(); ++i) {
      EXPECT_EQ(credit.candidates()[i].confidence, stats[i].p_sampled);
    }
  }
}

TEST(CreditRule, TuningFreeGivesNothingToAnUntouchedBlock) {
  RuleUnderTest rule(commit::Credit(), {{"tuning_free", "on"}});
  const std::vector<double> logits = {std::log(0.6), std::log(0.4)};
  const RowStats plain = StatsOf(logits, {});
  rule.SelectWith({0, 1}, {plain, plain}, 2);
  EXPECT_EQ(rule.candidates()[0].confidence, plain.p1) << "alpha is 1 - 2 / 2";
  rule.SelectWith({1}, {StatsOf(logits, {0})}, 2);
  // alpha = beta = 1/2; credit 0.6 / 2 + 0.6 = 0.9.
  const double weight = 0.6 * std::sqrt(1.9);
  EXPECT_NEAR(rule.candidates()[0].confidence, weight / (weight + 0.4), 1e-5);
}

TEST(CreditRule, ForgetsTheSmallestCreditWhenSlotsRunOut) {
  RuleUnderTest rule(commit::Credit(), {{"slots", "2"}});
  std::vector<double> logits(4, 0);
  for (const size_t best : {0, 0, 1, 2}) {
    std::vector<TokenId> probe;
    rule.rule().Probe(0, &probe);
    std::vector<double> now = logits;
    now[best] = 3;
    rule.SelectWith({0}, {StatsOf(now, probe)}, 1);
  }
  std::vector<TokenId> kept;
  rule.rule().Probe(0, &kept);
  EXPECT_EQ(kept, (std::vector<TokenId>{0, 2})) << "0 was best twice, 1 once and longer ago";
}

}  // namespace
}  // namespace tessera::decode
