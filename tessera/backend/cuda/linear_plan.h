// How the products of a matrix are shared among the pairs of blocks of a GPU. Shared by host and
// device code.
//
// The stages of all bands in a row are cut into equal runs, one per pair. A run that ends inside a
// band leaves a part of that band's sums, which the pair whose run ends the band adds to its own,
// in the order of the runs. The cuts depend on the shape of the weight and the GPU alone, so a
// row's sums never depend on the other rows.
#pragma once

#include <cstdint>

#include "tessera/backend/cuda/layout.h"

namespace tessera::cuda {

// Arithmetic is in 32 bits, which suffices for pairs * bands * stages.
struct LinearPlan {
  int32_t stages = 0;  // of each band
  int32_t total = 0;   // of all bands
  int32_t runs = 0;    // pairs that take part: all, unless there are fewer stages

  LinearPlan() = default;
  LinearPlan(int32_t pairs, int32_t bands, int32_t num_stages)
      : stages(num_stages), total(bands * num_stages), runs(total < pairs ? total : pairs) {}

  // Run r is the stages [Begin(r), Begin(r + 1)).
  TESSERA_HD int32_t Begin(int32_t run) const {
    return static_cast<int32_t>(static_cast<uint32_t>(total) * static_cast<uint32_t>(run) /
                                static_cast<uint32_t>(runs));
  }
  // The run that holds `stage` of all.
  TESSERA_HD int32_t RunOf(int32_t stage) const {
    return static_cast<int32_t>(
        (static_cast<uint32_t>(stage + 1) * static_cast<uint32_t>(runs) - 1) /
        static_cast<uint32_t>(total));
  }
};

// Stages [first, last) of a band.
struct LinearPiece {
  int32_t band, first, last;
  // Ends the band: to be completed with the parts of earlier runs if first > 0, and finished.
  bool closes;
};

// What a run is made of. The piece that others wait for comes first.
struct LinearRun {
  int32_t begin, end, stages;

  TESSERA_HD LinearRun(const LinearPlan& plan, int32_t run)
      : begin(run < plan.runs ? plan.Begin(run) : 0),
        end(run < plan.runs ? plan.Begin(run + 1) : 0),
        stages(plan.stages) {}

  TESSERA_HD bool open() const { return end % stages != 0; }
  TESSERA_HD int32_t NumPieces() const {
    return end == begin ? 0 : (end - 1) / stages - begin / stages + 1;
  }
  TESSERA_HD LinearPiece Piece(int32_t index) const {
    const int32_t pieces = NumPieces(), first_band = begin / stages;
    const int32_t at = open() ? (index + pieces - 1) % pieces : index;
    const int32_t band = first_band + at;
    return {.band = band,
            .first = at == 0 ? begin - band * stages : 0,
            .last = at + 1 == pieces ? end - band * stages : stages,
            .closes = at + 1 < pieces || !open()};
  }
};

}  // namespace tessera::cuda
