#include "tessera/backend/cpu/filtered_row.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace tessera::cpu {
namespace {

using ops::TokenId;

// Ids in rank order, ranked lazily: logits are binned by their distance from the maximum and only
// the bins that are looked at get sorted. Top-k of 50 or top-p of a peaked row touches one or two
// bins of a vocabulary of 10^5.
class Ranking {
 public:
  Ranking(std::span<const float> logits, double temperature)
      : logits_(logits), begin_(kBins + 1, 0) {
    max_ = *std::max_element(logits.begin(), logits.end());
    scale_ = kBinsPerNat / temperature;
    for (const float logit : logits) {
      if (logit != -std::numeric_limits<float>::infinity()) ++begin_[Bin(logit) + 1];
    }
    std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
    ids_.resize(begin_[kBins]);
    std::vector<int32_t> next(begin_.begin(), begin_.end() - 1);
    for (size_t id = 0; id < logits.size(); ++id) {
      if (logits[id] == -std::numeric_limits<float>::infinity()) continue;
      ids_[next[Bin(logits[id])]++] = static_cast<TokenId>(id);
    }
  }

  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  float max() const { return max_; }

  TokenId operator[](int64_t rank) {
    while (rank >= begin_[sorted_bins_]) {
      const auto first = ids_.begin() + begin_[sorted_bins_];
      const auto last = ids_.begin() + begin_[sorted_bins_ + 1];
      ++sorted_bins_;
      std::sort(first, last, [&](TokenId a, TokenId b) {
        return logits_[a] != logits_[b] ? logits_[a] > logits_[b] : a < b;
      });
    }
    return ids_[rank];
  }

 private:
  static constexpr int kBins = 1024;
  static constexpr double kBinsPerNat = 32;  // the last bin takes what is 32 nats below the top

  int Bin(float logit) const {
    const double distance = (double{max_} - logit) * scale_;
    return distance < kBins - 1 ? static_cast<int>(distance) : kBins - 1;
  }

  std::span<const float> logits_;
  float max_;
  double scale_;
  std::vector<int32_t> begin_;  // first rank of each bin
  std::vector<TokenId> ids_;
  int sorted_bins_ = 0;
};

}  // namespace

double FilteredRow::Probability(float logit, TokenId id, double temperature) const {
  return Keeps(logit, id) ? std::exp(logit / temperature - max) / normaliser : 0;
}

FilteredRow Filter(std::span<const float> logits, const ops::SamplingSpec& sampling) {
  const double temperature = sampling.temperature > 0 ? sampling.temperature : 1;
  Ranking ranking(logits, temperature);
  const double max = ranking.max() / temperature;
  const auto weight = [&](TokenId id) { return std::exp(logits[id] / temperature - max); };

  int64_t kept = ranking.size();
  const auto top_k = [&] {
    if (sampling.top_k > 0) kept = std::min<int64_t>(kept, sampling.top_k);
  };
  // Hugging Face's TopPLogitsWarper: an id goes when better ids alone reach the limit.
  const auto top_p = [&] {
    if (sampling.top_p >= 1) return;
    double total = 0;
    if (kept == ranking.size()) {
      for (size_t id = 0; id < logits.size(); ++id) total += weight(static_cast<TokenId>(id));
    } else {
      for (int64_t rank = 0; rank < kept; ++rank) total += weight(ranking[rank]);
    }
    const double limit = double{sampling.top_p} * total;
    double before = weight(ranking[0]);
    int64_t count = 1;
    while (count < kept && before < limit) before += weight(ranking[count++]);
    kept = count;
  };
  if (sampling.filter_order == ops::FilterOrder::kTopKTopP) {
    top_k();
    top_p();
  } else {
    top_p();
    top_k();
  }
  if (sampling.min_p > 0) {
    const double floor = max + std::log(double{sampling.min_p});
    int64_t count = 1;
    while (count < kept && logits[ranking[count]] / temperature >= floor) ++count;
    kept = count;
  }

  FilteredRow row;
  row.max = max;
  row.last_id = kept == ranking.size() ? std::numeric_limits<TokenId>::max() : ranking[kept - 1];
  row.last_logit = kept == ranking.size() ? std::numeric_limits<float>::lowest()
                                          : logits[row.last_id];
  double sum = 0;  // of (t - max) exp(t - max)
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!row.Keeps(logits[i], static_cast<TokenId>(i))) continue;
    const double shifted = logits[i] / temperature - max;
    const double e = std::exp(shifted);
    row.normaliser += e;
    sum += shifted * e;
  }
  row.entropy = std::max(0.0, std::log(row.normaliser) - sum / row.normaliser);
  return row;
}

}  // namespace tessera::cpu
