// The choice of HeadStats is a sample: chi-squared against the softmax it should follow, and
// independence between positions, steps and seeds. Keys are fixed, so the tests are deterministic.
#include <cmath>

#include "tests/ops/stats_harness.h"

namespace tessera::ops_test {
namespace {

using ops::RowRequest;
using ops::RowStats;
using ops::SamplingSpec;
using ops::TokenId;

constexpr int kDraws = 20000;

// Wilson-Hilferty: a chi-squared value with this normal score beyond 4 has probability 3e-5.
double NormalScore(double chi_squared, double degrees) {
  const double scale = 2 / (9 * degrees);
  return (std::cbrt(chi_squared / degrees) - (1 - scale)) / std::sqrt(scale);
}

double ChiSquared(const std::vector<int>& counts, const std::vector<double>& p, double* degrees) {
  double total = 0, sum = 0;
  for (const int count : counts) total += count;
  *degrees = -1;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (p[i] == 0) {
      EXPECT_EQ(counts[i], 0) << i;
      continue;
    }
    const double expected = p[i] * total;
    sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    *degrees += 1;
  }
  return sum;
}

class Sampling : public testing::TestWithParam<Target> {
 protected:
  std::vector<TokenId> Draw(const std::vector<float>& logits, const SamplingSpec& spec,
                            const std::vector<RngKey>& keys) {
    std::vector<RowRequest> requests;
    for (const RngKey& key : keys) {
      requests.push_back({.row = 0,
                          .guidance_row = -1,
                          .guidance_scale = 0,
                          .sampling = &spec,
                          .key = key,
                          .history = {},
                          .probe = {}});
    }
    std::vector<TokenId> ids;
    for (const RowStats& stats : LogitRows(*device_, {logits}).Stats(requests)) {
      ids.push_back(stats.sampled);
    }
    return ids;
  }

  std::unique_ptr<ops::Device> device_ = Make(GetParam());
};

TEST_P(Sampling, FollowsTheDistribution) {
  const std::vector<float> logits = Normals(40, 51, 1.2f);
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    for (const int top_k : {0, 7}) {
      const SamplingSpec spec = {.temperature = temperature, .top_k = top_k, .banned = {4}};
      std::vector<RngKey> keys;
      for (int i = 0; i < kDraws; ++i) keys.push_back({.seed = 99, .position = i, .step = top_k});
      std::vector<int> counts(logits.size(), 0);
      for (const TokenId id : Draw(logits, spec, keys)) ++counts[id];

      std::vector<float> sorted = logits;
      std::sort(sorted.rbegin(), sorted.rend());
      std::vector<double> p(logits.size());
      double sum = 0;
      for (size_t i = 0; i < p.size(); ++i) {
        const bool out = i == 4 || (top_k > 0 && logits[i] < sorted[top_k - 1]);
        sum += p[i] = out ? 0 : std::exp(logits[i] / double{temperature});
      }
      for (double& value : p) value /= sum;
      double degrees;
      const double chi_squared = ChiSquared(counts, p, &degrees);
      EXPECT_LT(std::fabs(NormalScore(chi_squared, degrees)), 4)
          << "T " << temperature << ", top-k " << top_k;
    }
  }
}

TEST_P(Sampling, NeighbouringKeysAreIndependent) {
  const std::vector<float> logits = {0, 0.5f, 1, -0.5f, 0.2f};
  const SamplingSpec spec = {.temperature = 1};
  double z = 0;
  for (const float logit : logits) z += std::exp(logit);
  for (const int kind : {0, 1, 2}) {  // position, step, seed
    std::vector<RngKey> keys;
    for (int i = 0; i < kDraws; ++i) {
      keys.push_back({.seed = static_cast<uint64_t>(kind == 2 ? i : 7),
                      .position = kind == 0 ? i : 3,
                      .step = kind == 1 ? i : 0});
    }
    const std::vector<TokenId> ids = Draw(logits, spec, keys);
    std::vector<int> counts(25, 0);
    std::vector<double> p(25);
    for (size_t i = 0; i + 1 < ids.size(); i += 2) ++counts[ids[i] * 5 + ids[i + 1]];
    for (int i = 0; i < 25; ++i) p[i] = std::exp(logits[i / 5] + logits[i % 5]) / (z * z);
    double degrees;
    const double chi_squared = ChiSquared(counts, p, &degrees);
    EXPECT_LT(std::fabs(NormalScore(chi_squared, degrees)), 4) << kind;
  }
}

// The vectorised pruning must find the very id that noise on every id gives.
TEST_P(Sampling, IsTheExactGumbelMax) {
  for (const float scale : {0.0f, 0.01f, 1.0f, 8.0f, 3000.0f}) {
    const std::vector<float> logits = Normals(3001, 52, scale);
    for (const float temperature : {1e-38f, 0.02f, 0.7f, 1.0f, 30.0f}) {
      const SamplingSpec spec = {.temperature = temperature};
      std::vector<RngKey> keys;
      for (int i = 0; i < 40; ++i) keys.push_back({.seed = 1ull << 40, .position = -i, .step = i});
      const std::vector<TokenId> ids = Draw(logits, spec, keys);
      for (size_t i = 0; i < keys.size(); ++i) {
        TokenId best = -1;
        double best_score = -std::numeric_limits<double>::infinity();
        for (TokenId v = 0; v < 3001; ++v) {
          const uint32_t word = RandomWords(keys[i], RngPurpose::kToken, v / 4)[v % 4];
          const double score = logits[v] / double{temperature} + GumbelFromWord(word);
          if (score > best_score) best = v, best_score = score;
        }
        ASSERT_EQ(ids[i], best) << "scale " << scale << ", T " << temperature;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, Sampling, testing::ValuesIn(TargetsWithoutRef()), TargetName);

}  // namespace
}  // namespace tessera::ops_test
