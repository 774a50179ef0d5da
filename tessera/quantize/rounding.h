// Round-to-nearest with a search of the clipping: the simplest way to quantise, and the part of
// every other that chooses scales. A pure function of weights and importance.
#pragma once

#include <memory>
#include <span>

#include "tessera/base/thread_pool.h"
#include "tessera/quantize/encoded_matrix.h"
#include "tessera/tensor/tensor.h"

namespace tessera::quantize {

// The weights that one group of codes can stand for: scale * code + min, lowest <= code <= highest.
struct Grid {
  float scale = 0;  // as it is stored; 0: every weight is `min`
  float min = 0;
  int32_t lowest = 0, highest = 0;

  uint8_t Code(float weight) const;
  float Value(uint8_t code) const { return scale * static_cast<float>(code) + min; }
};

// The grid with the smallest sum of importance * (weight - value)^2 among those that cut the range
// of the weights to 1, 0.98, ... of itself; the first is plain absmax (symmetric) or min and max,
// so the choice is never worse than those. No importance: all weights count the same.
Grid FitGrid(std::span<const float> weights, std::span<const float> importance,
             const QuantizedLayout& layout);

// Rounds weights [out, in] f32 to the nearest. `importance` [in] or empty.
std::unique_ptr<EncodedMatrix> RoundToNearest(std::span<const float> weights, int64_t in,
                                              std::span<const float> importance,
                                              const QuantizedLayout& layout, ThreadPool& pool);

}  // namespace tessera::quantize
