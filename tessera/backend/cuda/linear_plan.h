// How the products of a matrix are shared among the pairs of blocks of a GPU. Shared by host and
// device code.
//
// The stages of all bands, in order, are cut into equal runs, one per pair. A run that ends inside
// a band leaves a part of that band's sums; parts are added in order. The cuts depend on the shape
// of the weight and the GPU alone, so a row's sums never depend on the other rows.
#pragma once

#include <cstdint>

#include "tessera/backend/cuda/layout.h"

namespace tessera::cuda {

// Arithmetic is in 32 bits, which suffices for total() * pairs: matrices of up to 2^31 / pairs
// stages, some 4 GB of the narrowest ones.
struct LinearPlan {
  int32_t pairs = 0;   // of blocks that take part, at most total()
  int32_t bands = 0;   // of 256 features
  int32_t stages = 0;  // of each band

  TESSERA_HD int32_t total() const { return bands * stages; }
  // The run of pair p is [Begin(p), Begin(p + 1)).
  TESSERA_HD int32_t Begin(int32_t pair) const {
    return static_cast<int32_t>(static_cast<uint32_t>(total() * pair) /
                                static_cast<uint32_t>(pairs));
  }
  // The pair whose run holds `stage`.
  TESSERA_HD int32_t PairOf(int32_t stage) const {
    return static_cast<int32_t>(static_cast<uint32_t>((stage + 1) * pairs - 1) /
                                static_cast<uint32_t>(total()));
  }
  // Where the part of `band` that `pair` sums lies among all parts: two parts differ in the band or
  // the pair, and the later has more of both.
  TESSERA_HD int32_t Slot(int32_t band, int32_t pair) const { return band + pair; }
  TESSERA_HD int32_t NumSlots() const { return bands + pairs; }
};

}  // namespace tessera::cuda
