// The tempered and filtered distribution of one whole row of logits.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "tessera/backend/cpu/op_kernels.h"
#include "tessera/ops/row_stats.h"

namespace tessera::cpu {

// The ids that survive the filters are a prefix of the ranking by (logit descending, id ascending),
// so the last one describes them all.
struct FilteredRow {
  float last_logit = 0;
  ops::TokenId last_id = 0;
  float max = 0;           // largest logit
  double temperature = 1;  // 1 where the spec says 0
  double normaliser = 0;   // sum of exp((logit - max) / temperature) over the kept ids
  double entropy = 0;

  bool Keeps(float logit, ops::TokenId id) const {
    return logit > last_logit || (logit == last_logit && id <= last_id);
  }
  // 0 if the id was dropped.
  double Probability(float logit, ops::TokenId id) const;
};

// Filters rows one after another; owns the scratch memory. One per thread.
//
// Nothing is sorted as a whole: one pass bins the ids by their distance from the maximum and sums
// counts and masses per bin, which finds the bin where a filter cuts; only that bin is ranked.
class RowFilter {
 public:
  // `logits` are finite or -inf with a finite maximum `max`. Banned ids count like any other.
  FilteredRow Run(std::span<const float> logits, float max, const ops::SamplingSpec& sampling,
                  const OpKernels& kernels);

 private:
  static constexpr int kBins = 1024;
  static constexpr float kBinsPerNat = 32;  // the last bin takes what is 32 nats below the top

  int Bin(float logit) const;
  void Rank(int bin);                                 // fills ranked_
  double MassOfBest(int64_t count);                   // of the first `count` ids
  int64_t CountReaching(double mass, int64_t limit);  // smallest count with at least that mass
  ops::TokenId IdAt(int64_t rank);

  std::span<const float> logits_;
  float max_ = 0, bin_scale_ = 0;
  std::vector<float> weights_;  // exp((logit - max) / temperature)
  std::array<int64_t, kBins> counts_;
  std::array<double, kBins> masses_;
  int ranked_bin_ = -1;
  std::vector<ops::TokenId> ranked_;  // ids of ranked_bin_, best first
};

}  // namespace tessera::cpu
