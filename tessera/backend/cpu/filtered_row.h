// The tempered and filtered distribution of one whole row of logits.
#pragma once

#include <cstdint>
#include <span>

#include "tessera/ops/row_stats.h"

namespace tessera::cpu {

// The ids that survive the filters are a prefix of the ranking by (logit descending, id ascending),
// so the last one describes them all.
struct FilteredRow {
  float last_logit = 0;
  ops::TokenId last_id = 0;
  double max = 0;         // largest tempered logit
  double normaliser = 0;  // sum of exp(tempered - max) over the kept ids, banned ones included
  double entropy = 0;

  bool Keeps(float logit, ops::TokenId id) const {
    return logit > last_logit || (logit == last_logit && id <= last_id);
  }
  // Probability of an id; 0 if it was dropped.
  double Probability(float logit, ops::TokenId id, double temperature) const;
};

// `logits` are finite or -inf, at least one is finite. Temperature 0 counts as 1.
FilteredRow Filter(std::span<const float> logits, const ops::SamplingSpec& sampling);

}  // namespace tessera::cpu
