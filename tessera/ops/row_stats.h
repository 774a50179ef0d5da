// What a forward returns of each row's logits: a few numbers instead of a vocabulary-wide row.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "tessera/base/rng.h"

namespace tessera::ops {

using TokenId = int32_t;

enum class FilterOrder : uint8_t { kTopKTopP, kTopPTopK };  // SDAR and AR / Dream

// How logits become a distribution and a choice. Rows of one batch may differ in it.
//
// Order: suppress -> repetition penalty -> temperature -> filters -> choice. Ties go to the lower
// token id. All arithmetic is fp32 or wider.
struct SamplingSpec {
  float temperature = 0;  // 0: the choice is the argmax; > 0: Gumbel-max, never a hidden state
  int32_t top_k = 0;      // exactly this many survive, the lower ids of a tie; 0: off
  float top_p = 1;        // keeps the token that crosses the limit; 1: off
  float min_p = 0;        // drops tokens below min_p * p(top), after the other two; 0: off
  FilterOrder filter_order = FilterOrder::kTopKTopP;
  // l > 0 ? l / r : l * r, once for each distinct id of RowRequest::history.
  float repetition_penalty = 1;
  std::vector<TokenId> banned = {};      // never chosen, but still part of the normaliser
  std::vector<TokenId> suppressed = {};  // logit = -inf: not chosen and not in the normaliser
  // true: p1, p2, entropy and p_sampled describe the tempered, filtered distribution (Dream, SDAR);
  // false: the plain softmax of the logits (LLaDA). With temperature 0 the temperature is 1 here.
  bool stats_of_filtered = false;
  int32_t top_n = 0;  // how many (id, log-probability) pairs to return, at most 64

  bool filters() const { return top_k > 0 || top_p < 1 || min_p > 0; }
};

// One row of logits to reduce.
struct RowRequest {
  int32_t row = 0;  // index into the hidden rows handed to the head
  int32_t guidance_row =
      -1;  // >= 0: logits are u + (scale + 1) * (c - u), c of `row`, u of this row
  float guidance_scale = 0;
  const SamplingSpec* sampling = nullptr;  // never null
  RngKey key = {};                         // noise of this row's choice
  std::span<const TokenId> history = {};   // for the repetition penalty
  std::span<const TokenId> probe = {};     // ids whose probability is wanted
};

// "The logits" are those after guidance, suppression and penalty, in that order. A row of them that
// holds NaN or +inf, or only -inf, gets NaN for every number, the lowest ids that are not banned as
// argmax and choice, and no top list.
struct RowStats {
  TokenId argmax = -1;              // best id that is not banned
  TokenId second = -1;              // next best; -1 when only one token is allowed
  float p1 = 0;                     // probability of argmax
  float p2 = 0;                     // probability of second
  float entropy = 0;                // nats
  float lse = 0;                    // log-sum-exp of the logits
  TokenId sampled = -1;             // the choice; equals argmax at temperature 0
  float p_sampled = 0;              // its probability
  std::vector<float> p_probe = {};  // plain softmax, one per RowRequest::probe
  // Up to top_n pairs (id, log p of the plain softmax), best first, without banned ids.
  std::vector<std::pair<TokenId, float>> top = {};
};

}  // namespace tessera::ops
