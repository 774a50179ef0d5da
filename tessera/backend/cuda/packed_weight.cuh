// Single elements of packed weights, for what reads few of them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/ops/weight_rounding.h"

namespace tessera::cuda {

// e4m3: sign, exponent and mantissa moved to their places in f32 make 2^-120 times the value (the
// biases are 7 and 127), subnormals included.
__device__ __forceinline__ float F8Value(uint32_t bits) {
  return __uint_as_float((bits & 0x80) << 24 | (bits & 0x7f) << 20) * 0x1p120f;
}

// Weight (row, k), the number that CPUs multiply, by the same operations. `row` counts packed rows.
__device__ __forceinline__ float WeightValue(const WeightView& weight, const StageLayout& layout,
                                             int64_t row, int64_t k) {
  if (weight.format.type == ops::WeightType::kF32) {
    return static_cast<const float*>(weight.data)[row * weight.in + k];
  }
  const int64_t f = row % kHalfBand, at = k % layout.inputs;
  const auto* stage =
      static_cast<const unsigned char*>(weight.data) +
      StageOffset(layout, weight.in, row / kBand, row % kBand / kHalfBand, k / layout.inputs);
  if (weight.format.type == ops::WeightType::kBF16) {
    const BF16 bits = reinterpret_cast<const BF16*>(stage)[ElementBF16(f, at)];
    return __uint_as_float(static_cast<uint32_t>(bits) << 16);
  }
  if (weight.format.type == ops::WeightType::kF8) {
    return F8Value(stage[ElementByte(f, at)]) * weight.feature_scales[row];
  }
  int byte;
  if (weight.format.type == ops::WeightType::kInt8) {
    byte = static_cast<signed char>(stage[ElementByte(f, at)]);
  } else {
    const int64_t nibble = ElementNibble(f, at), group = at / layout.group * kHalfBand + f;
    const int code = (stage[nibble / 2] >> (nibble % 2 * 4) & 15) - 8;
    const int offset =
        weight.format.symmetric ? 0 : static_cast<signed char>(stage[layout.offsets_at + group]);
    byte = ops::ExpandCode(static_cast<int8_t>(stage[layout.ratios_at + group]),
                           static_cast<int8_t>(offset), code);
  }
  const auto* scales = reinterpret_cast<const __half*>(stage + layout.scales_at);
  return __half2float(scales[at / layout.scale_inputs * kHalfBand + f]) * ops::kScaleUnit *
         static_cast<float>(byte);
}

}  // namespace tessera::cuda
