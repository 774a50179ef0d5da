// Weight matrices in the layouts of layout.h, in device memory, and how they get there.
#pragma once

#include <memory>
#include <vector>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/memory.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/matrix.h"

namespace tessera::cuda {

// Immutable; belongs to the GPU that was current when it was packed.
class PackedMatrix : public ops::Matrix {
 public:
  PackedMatrix(const WeightView& view, DeviceMemory data, DeviceMemory feature_scales,
               int64_t bytes)
      : Matrix(view.out, view.in, view.format),
        view_(view),
        data_(std::move(data)),
        feature_scales_(std::move(feature_scales)),
        bytes_(bytes) {}

  int64_t bytes() const override { return bytes_; }
  const WeightView& view() const { return view_; }

 private:
  const WeightView view_;
  const DeviceMemory data_, feature_scales_;
  const int64_t bytes_;
};

// Packs tensors for the current GPU. Threads turn the rows of one band into row records in pinned
// memory while the band before is copied and permuted. Not thread-safe.
class MatrixPacker {
 public:
  // As cpu::PackMatrix, and fp8. Rows are in the order of PairedRow if the source is `paired` and
  // the layout is not plain rows (f32). Waits until the matrix is complete.
  Result<std::unique_ptr<PackedMatrix>> Pack(Stream stream, const ops::MatrixSource& source);

 private:
  struct Slot {
    PinnedMemory host;  // records of a band
    EventHandle free;   // they were copied
  };

  ThreadPool pool_;
  Slot slots_[2];
  DeviceMemory records_;
};

}  // namespace tessera::cuda
