#include "tessera/backend/cpu/linear.h"

#include <algorithm>

#include "tessera/base/check.h"

namespace tessera::cpu {
namespace {

// Panels per unit of work: even, because kernels work on two panels at a time.
constexpr int64_t kGrain = 2;

const LinearKernel& KernelFor(const LinearKernels& kernels, const PackedMatrix& weight) {
  return weight.format().type == ops::WeightType::kF32 ? kernels.f32 : kernels.bf16;
}

}  // namespace

const LinearKernels& GetLinearKernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2: {
      static const LinearKernels kernels = {"avx2", avx2::kLinearF32, avx2::kLinearBf16};
      return kernels;
    }
    case Isa::kAvx512: {
      static const LinearKernels kernels = {"avx512", avx512::kLinearF32, avx512::kLinearBf16};
      return kernels;
    }
    case Isa::kAvx512Bf16: {
      static const LinearKernels kernels = {"avx512bf16", avx512::kLinearF32,
                                            avx512bf16::kLinearBf16};
      return kernels;
    }
    case Isa::kAmx: {
      static const LinearKernels kernels = {"amx", avx512::kLinearF32, amx::kLinearBf16};
      return kernels;
    }
#endif
    default: {
      static const LinearKernels kernels = {"generic", generic::kLinearF32, generic::kLinearBf16};
      return kernels;
    }
  }
}

PackedRows PackRows(const float* x, int64_t rows, const PackedMatrix& weight,
                    const LinearKernels& kernels, ThreadPool& pool, Scratch& scratch) {
  const LinearKernel& kernel = KernelFor(kernels, weight);
  const int64_t padded_rows =
      (rows + kernel.row_multiple - 1) / kernel.row_multiple * kernel.row_multiple;
  std::byte* packed =
      scratch.Reserve(static_cast<size_t>(padded_rows * weight.padded_in() * kernel.x_bytes));
  const int64_t blocks = NumBlocks(rows, kernel.max_block_rows);
  pool.ParallelFor(blocks, /*grain=*/1, [&](int64_t begin, int64_t end, int) {
    kernel.pack_rows({.x = x,
                      .x_stride = weight.in(),
                      .rows = rows,
                      .in = weight.in(),
                      .padded_in = weight.padded_in(),
                      .block_begin = begin,
                      .block_end = end,
                      .packed = packed});
  });
  return {.kernel = &kernel, .data = packed, .rows = rows};
}

void LinearPanels(const PackedRows& x, const PackedMatrix& weight, int64_t panel_begin,
                  int64_t panel_end, float* y, int64_t y_stride) {
  if (x.rows == 0 || panel_begin >= panel_end) return;
  x.kernel->panels({.packed_x = x.data,
                    .rows = x.rows,
                    .padded_in = weight.padded_in(),
                    .weights = weight.data(),
                    .out = weight.out(),
                    .panel_begin = panel_begin,
                    .panel_end = panel_end,
                    .bias = nullptr,
                    .y = y,
                    .y_stride = y_stride,
                    .accumulate = 0});
}

void Linear(const ops::LinearArgs& args, const LinearKernels& kernels, ThreadPool& pool,
            Scratch& scratch) {
  if (args.rows == 0) return;
  const auto& weight = static_cast<const PackedMatrix&>(*args.weight);
  const PackedRows x = PackRows(args.x, args.rows, weight, kernels, pool, scratch);
  pool.ParallelFor(weight.num_panels(), kGrain, [&](int64_t begin, int64_t end, int) {
    x.kernel->panels({.packed_x = x.data,
                      .rows = x.rows,
                      .padded_in = weight.padded_in(),
                      .weights = weight.data(),
                      .out = weight.out(),
                      .panel_begin = begin,
                      .panel_end = end,
                      .bias = args.bias,
                      .y = args.y + begin * kPanel,
                      .y_stride = weight.out(),
                      .accumulate = args.accumulate ? 1 : 0});
  });
}

}  // namespace tessera::cpu
