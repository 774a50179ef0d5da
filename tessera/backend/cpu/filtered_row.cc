#include "tessera/backend/cpu/filtered_row.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tessera::cpu {

using ops::TokenId;

double FilteredRow::Probability(float logit, TokenId id) const {
  if (!Keeps(logit, id)) return 0;
  return std::exp((double{logit} - max) / temperature) / normaliser;
}

int RowFilter::Bin(float logit) const {
  const float distance = (max_ - logit) * bin_scale_;
  return distance < kBins - 1 ? static_cast<int>(distance) : kBins - 1;
}

void RowFilter::Rank(int bin) {
  if (bin == ranked_bin_) return;
  ranked_bin_ = bin;
  ranked_.clear();
  for (size_t id = 0; id < logits_.size(); ++id) {
    if (Bin(logits_[id]) == bin && logits_[id] != -std::numeric_limits<float>::infinity()) {
      ranked_.push_back(static_cast<TokenId>(id));
    }
  }
  std::sort(ranked_.begin(), ranked_.end(), [&](TokenId a, TokenId b) {
    return logits_[a] != logits_[b] ? logits_[a] > logits_[b] : a < b;
  });
}

double RowFilter::MassOfBest(int64_t count) {
  double mass = 0;
  int bin = 0;
  for (; bin < kBins && count >= counts_[bin]; ++bin) {
    mass += masses_[bin];
    count -= counts_[bin];
  }
  if (count > 0) Rank(bin);
  for (int64_t i = 0; i < count; ++i) mass += weights_[ranked_[i]];
  return mass;
}

int64_t RowFilter::CountReaching(double mass, int64_t limit) {
  double before = 0;
  int64_t count = 0;
  int bin = 0;
  for (; bin < kBins && before + masses_[bin] < mass; ++bin) {
    before += masses_[bin];
    count += counts_[bin];
  }
  if (bin == kBins || count >= limit) return limit;
  Rank(bin);
  for (size_t i = 0; i < ranked_.size() && before < mass; ++i, ++count) {
    before += weights_[ranked_[i]];
  }
  return std::clamp<int64_t>(count, 1, limit);
}

TokenId RowFilter::IdAt(int64_t rank) {
  int bin = 0;
  while (rank >= counts_[bin]) rank -= counts_[bin++];
  Rank(bin);
  return ranked_[rank];
}

FilteredRow RowFilter::Run(std::span<const float> logits, float max,
                           const ops::SamplingSpec& sampling, const OpKernels& kernels) {
  FilteredRow row;
  row.max = max;
  row.temperature = sampling.temperature > 0 ? sampling.temperature : 1;
  logits_ = logits;
  max_ = max;
  // The limit keeps 0 * infinity out of the weights of the best ids at tiny temperatures.
  const double inverse = std::min(1 / row.temperature, 1e30);
  bin_scale_ = static_cast<float>(kBinsPerNat * inverse);
  ranked_bin_ = -1;
  if (weights_.size() < logits.size()) weights_.resize(logits.size());
  kernels.exp_row(logits.data(), static_cast<int64_t>(logits.size()), max,
                  static_cast<float>(inverse), weights_.data());

  row.last_id = std::numeric_limits<TokenId>::max();
  row.last_logit = std::numeric_limits<float>::lowest();
  if (sampling.filters()) {
    counts_.fill(0);
    masses_.fill(0);
    // The last bin is where most ids of a peaked row go: summed in registers, not in memory.
    int64_t far_count = 0;
    double far_mass = 0;
    for (size_t id = 0; id < logits.size(); ++id) {
      const float distance = (max - logits[id]) * bin_scale_;
      if (distance < kBins - 1) {
        const int bin = static_cast<int>(distance);
        ++counts_[bin];
        masses_[bin] += weights_[id];
      } else {
        far_count += logits[id] != -std::numeric_limits<float>::infinity();
        far_mass += weights_[id];
      }
    }
    counts_[kBins - 1] = far_count;
    masses_[kBins - 1] = far_mass;
    int64_t size = 0;
    for (const int64_t count : counts_) size += count;

    int64_t kept = size;
    const auto top_k = [&] {
      if (sampling.top_k > 0) kept = std::min<int64_t>(kept, sampling.top_k);
    };
    // Hugging Face's TopPLogitsWarper: an id goes when better ids alone reach the limit.
    const auto top_p = [&] {
      if (sampling.top_p >= 1) return;
      kept = CountReaching(double{sampling.top_p} * MassOfBest(kept), kept);
    };
    if (sampling.filter_order == ops::FilterOrder::kTopKTopP) {
      top_k();
      top_p();
    } else {
      top_p();
      top_k();
    }
    if (sampling.min_p > 0) {
      const double floor = std::log(double{sampling.min_p}) * row.temperature;
      int64_t above = 0;
      for (const float logit : logits) above += double{logit} - max >= floor;
      kept = std::clamp<int64_t>(above, 1, kept);
    }
    if (kept < size) {
      row.last_id = IdAt(kept - 1);
      row.last_logit = logits[row.last_id];
    }
  }

  double sum = 0;  // of (logit - max) exp((logit - max) / temperature)
  for (size_t id = 0; id < logits.size(); ++id) {
    if (!row.Keeps(logits[id], static_cast<TokenId>(id))) continue;
    row.normaliser += weights_[id];
    sum += (double{logits[id]} - max) * weights_[id];
  }
  row.entropy = std::max(0.0, std::log(row.normaliser) - sum / (row.temperature * row.normaliser));
  return row;
}

}  // namespace tessera::cpu
