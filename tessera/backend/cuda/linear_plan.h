// How the products of a matrix are shared among the pairs of blocks of a GPU. Shared by host and
// device code.
//
// As many bands as there are for every pair alike are summed whole. The stages of the bands that
// remain are cut into equal runs, one per pair; a run that ends inside a band leaves a part of that
// band's sums, and parts are added in order. The cuts depend on the shape of the weight and the GPU
// alone, so a row's sums never depend on the other rows.
#pragma once

#include <cstdint>

#include "tessera/backend/cuda/layout.h"

namespace tessera::cuda {

// Arithmetic is in 32 bits, which suffices for pairs^2 * stages.
struct LinearPlan {
  int32_t pairs = 0;   // of blocks
  int32_t stages = 0;  // of each band
  int32_t whole = 0;   // bands that each pair sums alone: pair, pair + pairs, ...
  int32_t split = 0;   // bands after those
  int32_t runs = 0;    // pairs that share the split bands, at most their stages

  LinearPlan() = default;
  LinearPlan(int32_t num_pairs, int32_t bands, int32_t num_stages)
      : pairs(num_pairs), stages(num_stages), whole(bands / num_pairs), split(bands % num_pairs) {
    runs = split * stages < pairs ? split * stages : pairs;
  }

  TESSERA_HD int32_t split_begin() const { return whole * pairs; }
  // Run r is the stages [Begin(r), Begin(r + 1)) of the split bands in a row.
  TESSERA_HD int32_t Begin(int32_t run) const {
    return static_cast<int32_t>(static_cast<uint32_t>(split * stages * run) /
                                static_cast<uint32_t>(runs));
  }
  // The run that holds `stage` of the split bands in a row.
  TESSERA_HD int32_t RunOf(int32_t stage) const {
    return static_cast<int32_t>(static_cast<uint32_t>((stage + 1) * runs - 1) /
                                static_cast<uint32_t>(split * stages));
  }
  // Where a part lies among all: of a whole band, by the pair that sums it; of split band `band`
  // (counted from split_begin()) in run `run`: two such parts differ in the band or the run, and
  // the later has more of both.
  TESSERA_HD int32_t WholeSlot(int32_t pair) const { return pair; }
  TESSERA_HD int32_t SplitSlot(int32_t band, int32_t run) const { return pairs + band + run; }
  TESSERA_HD int32_t NumSlots() const { return pairs + split + runs; }
};

}  // namespace tessera::cuda
