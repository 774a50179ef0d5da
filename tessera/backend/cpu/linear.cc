#include "tessera/backend/cpu/linear.h"

#include <algorithm>

#include "tessera/base/check.h"

namespace tessera::cpu {
namespace {

// Panels per unit of work: even, because kernels work on two panels at a time.
constexpr int64_t kGrain = 2;

const LinearKernel& KernelFor(const LinearKernels& kernels, const PackedMatrix& weight,
                              int64_t rows) {
  const bool one = rows == 1 && kernels.has_one_row && weight.layout().segment >= 64;
  switch (weight.format().type) {
    case ops::WeightType::kF32: return kernels.f32;
    case ops::WeightType::kBF16: return kernels.bf16;
    case ops::WeightType::kF8: break;  // PackMatrix refuses it
    case ops::WeightType::kInt8: return one ? kernels.int8_one_row : kernels.int8;
    case ops::WeightType::kInt4: return one ? kernels.int4_one_row : kernels.int4;
  }
  return kernels.f32;
}

}  // namespace

const LinearKernels& GetLinearKernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2: {
      static const LinearKernels kernels = {.name = "avx2",
                                            .f32 = avx2::kLinearF32,
                                            .bf16 = avx2::kLinearBf16,
                                            .int8 = avx2::kLinearInt8,
                                            .int4 = avx2::kLinearInt4};
      return kernels;
    }
    case Isa::kAvx512: {  // without VNNI, 512-bit integers gain nothing over AVX2 worth a kernel
      static const LinearKernels kernels = {.name = "avx512",
                                            .f32 = avx512::kLinearF32,
                                            .bf16 = avx512::kLinearBf16,
                                            .int8 = avx2::kLinearInt8,
                                            .int4 = avx2::kLinearInt4};
      return kernels;
    }
    case Isa::kAvx512Vnni: {
      static const LinearKernels kernels = {.name = "avx512vnni",
                                            .f32 = avx512::kLinearF32,
                                            .bf16 = avx512::kLinearBf16,
                                            .int8 = avx512vnni::kLinearInt8,
                                            .int4 = avx512vnni::kLinearInt4,
                                            .has_one_row = true,
                                            .int8_one_row = avx512vnni::kDotInt8,
                                            .int4_one_row = avx512vnni::kDotInt4};
      return kernels;
    }
    case Isa::kAvx512Bf16: {
      static const LinearKernels kernels = {.name = "avx512bf16",
                                            .f32 = avx512::kLinearF32,
                                            .bf16 = avx512bf16::kLinearBf16,
                                            .int8 = avx512vnni::kLinearInt8,
                                            .int4 = avx512vnni::kLinearInt4,
                                            .has_one_row = true,
                                            .int8_one_row = avx512vnni::kDotInt8,
                                            .int4_one_row = avx512vnni::kDotInt4};
      return kernels;
    }
    case Isa::kAmx: {
      static const LinearKernels kernels = {.name = "amx",
                                            .f32 = avx512::kLinearF32,
                                            .bf16 = amx::kLinearBf16,
                                            .int8 = amx::kLinearInt8,
                                            .int4 = amx::kLinearInt4,
                                            .has_one_row = true,
                                            .int8_one_row = avx512vnni::kDotInt8,
                                            .int4_one_row = avx512vnni::kDotInt4};
      return kernels;
    }
#endif
    default: {
      static const LinearKernels kernels = {.name = "generic",
                                            .f32 = generic::kLinearF32,
                                            .bf16 = generic::kLinearBf16,
                                            .int8 = generic::kLinearInt8,
                                            .int4 = generic::kLinearInt4};
      return kernels;
    }
  }
}

PackedRows PackRows(const float* x, int64_t rows, const PackedMatrix& weight,
                    const LinearKernels& kernels, ThreadPool& pool, Scratch& scratch) {
  const LinearKernel& kernel = KernelFor(kernels, weight, rows);
  const int64_t padded_rows =
      (rows + kernel.row_multiple - 1) / kernel.row_multiple * kernel.row_multiple;
  const QuantLayout& layout = weight.layout();
  int64_t row_bytes = weight.padded_in() * kernel.x_bytes;
  if (layout.segment > 0) row_bytes += weight.num_segments() * kernel.segment_bytes;
  std::byte* packed = scratch.Reserve(static_cast<size_t>(padded_rows * row_bytes));
  const int64_t blocks = NumBlocks(rows, kernel.max_block_rows);
  pool.ParallelFor(blocks, /*grain=*/1, [&](int64_t begin, int64_t end, int) {
    kernel.pack_rows({.x = x,
                      .x_stride = weight.in(),
                      .rows = rows,
                      .in = weight.in(),
                      .padded_in = weight.padded_in(),
                      .block_begin = begin,
                      .block_end = end,
                      .packed = packed,
                      .segment = layout.segment});
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
                    .accumulate = 0,
                    .layout = weight.layout()});
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
                      .accumulate = args.accumulate ? 1 : 0,
                      .layout = weight.layout()});
  });
}

}  // namespace tessera::cpu
