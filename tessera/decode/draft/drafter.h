// Proposes tokens that may follow a text. A drafter never decides: verification does.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/ops/row_stats.h"

namespace tessera::decode {

class Drafter {
 public:
  virtual ~Drafter() = default;
  // At most `max_tokens` likely continuations of `text`; empty when it has none to offer.
  virtual std::vector<ops::TokenId> Propose(std::span<const ops::TokenId> text,
                                            int32_t max_tokens) = 0;
};

}  // namespace tessera::decode
