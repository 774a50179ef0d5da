// What decoding has to know about a network; filled by models/, read by decode/ and engine/.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tessera/ops/row_stats.h"

namespace tessera::ops {

enum class AttentionKind : uint8_t { kCausal, kBidirectional, kBlockCausal };

constexpr std::string_view Name(AttentionKind kind) {
  switch (kind) {
    case AttentionKind::kCausal: return "causal";
    case AttentionKind::kBidirectional: return "bidirectional";
    case AttentionKind::kBlockCausal: return "block-causal";
  }
  return "unknown";
}

struct ModelTraits {
  AttentionKind attention = AttentionKind::kCausal;
  int32_t block = 0;              // block-causal: positions per block
  bool shifted_logits = false;    // true: row i-1 predicts position i, as causal models always do
  TokenId mask_id = -1;           // -1: the model has no mask token
  std::vector<TokenId> stop_ids;  // end-of-text tokens; the first one also pads
  // Tokens whose text ends a line, where the tokenizer is known.
  std::vector<TokenId> delimiter_ids = {};
  bool joint_layer = false;  // has a layer for joint sampling (ADJUST, arXiv 2509.22738)
  int32_t vocab_size = 0;
  int32_t max_positions = 0;
};

}  // namespace tessera::ops
