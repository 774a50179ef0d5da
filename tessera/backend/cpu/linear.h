// y = x * W^T on packed weights: the host side of the linear kernels.
//
// bf16 weights: activations are rounded to bf16 (nearest even) once per call, products are summed
// in f32. f32 weights: everything is f32. Integer weights: activations are rounded to bytes per row
// and segment, see QuantLayout. A row's result is bit-identical at a given level whatever the
// number of rows, the thread count and the panel range: one summation order per output.
#pragma once

#include <cstdint>

#include "tessera/backend/cpu/isa.h"
#include "tessera/backend/cpu/linear_kernels.h"
#include "tessera/backend/cpu/packed_matrix.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/device.h"
#include "tessera/tensor/tensor.h"

namespace tessera::cpu {

// Memory that grows to the largest request and is reused; one forward at a time.
class Scratch {
 public:
  // 64-byte aligned, uninitialised; invalidates what earlier calls returned.
  std::byte* Reserve(size_t bytes) {
    if (bytes > buffer_.bytes()) {
      buffer_ = Buffer();  // free first: the old content is not wanted
      buffer_ = Buffer(bytes + bytes / 4);
    }
    return buffer_.data();
  }

 private:
  Buffer buffer_;
};

// The linear kernels of a level; `isa` must be in AvailableIsas().
const LinearKernels& GetLinearKernels(Isa isa);

// args.weight must be a PackedMatrix; scratch is used during the call only.
void Linear(const ops::LinearArgs& args, const LinearKernels& kernels, ThreadPool& pool,
            Scratch& scratch);
inline void Linear(const ops::LinearArgs& args, Isa isa, ThreadPool& pool, Scratch& scratch) {
  Linear(args, GetLinearKernels(isa), pool, scratch);
}

// For callers that consume y in pieces, such as the LM head: pack the rows once, then compute any
// panel range from any thread.
struct PackedRows {
  const LinearKernel* kernel = nullptr;
  const void* data = nullptr;  // inside the scratch given to PackRows
  int64_t rows = 0;
};

// Packs x [rows, weight.in()] for products with matrices of weight's format and width.
PackedRows PackRows(const float* x, int64_t rows, const PackedMatrix& weight,
                    const LinearKernels& kernels, ThreadPool& pool, Scratch& scratch);

// y[r, c - 16 * panel_begin] = x[r] . W[c] for the features c of panels [panel_begin, panel_end)
// that exist; y: [rows, y_stride]. Same numbers as Linear. Runs on the calling thread.
void LinearPanels(const PackedRows& x, const PackedMatrix& weight, int64_t panel_begin,
                  int64_t panel_end, float* y, int64_t y_stride);

}  // namespace tessera::cpu
