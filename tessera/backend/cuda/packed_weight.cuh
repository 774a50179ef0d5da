// A few elements of packed weights, for what reads rows of them.
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

// Neighbouring inputs that are read at once: in every packed format they lie in one stage and share
// scale, ratio and offset.
inline constexpr int kWeightBlock = 8;

// Weights (row, k) to (row, k + 7), the numbers that CPUs multiply, by the same operations. `row`
// counts packed rows, k is a multiple of 8; zero where k reaches beyond the inputs.
template <ops::WeightType kType>
__device__ __forceinline__ void LoadWeights(const WeightView& weight, int64_t row, int k,
                                            float (&to)[kWeightBlock]) {
  if constexpr (kType == ops::WeightType::kF32) {
    const float* from = static_cast<const float*>(weight.data) + row * weight.in + k;
#pragma unroll
    for (int i = 0; i < kWeightBlock; ++i) to[i] = k + i < weight.in ? from[i] : 0.f;
    return;
  }
  const StageLayout layout = LayoutOf({kType, weight.format.group, weight.format.symmetric});
  const int f = static_cast<int>(row % kHalfBand), at = k % layout.inputs;
  const auto* stage =
      static_cast<const unsigned char*>(weight.data) +
      StageOffset(layout, weight.in, row / kBand, row % kBand / kHalfBand, k / layout.inputs);
  if constexpr (kType == ops::WeightType::kBF16) {
    const uint4 four = *reinterpret_cast<const uint4*>(stage + 2 * ElementBF16(f, at));
    const uint32_t words[] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int i = 0; i < kWeightBlock; ++i) {
      to[i] = __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
    }
  } else if constexpr (kType == ops::WeightType::kF8) {
    const float scale = weight.feature_scales[row];
#pragma unroll
    for (int i = 0; i < kWeightBlock; ++i) to[i] = F8Value(stage[ElementByte(f, at + i)]) * scale;
  } else {
    const int scale_at = at / layout.scale_inputs * static_cast<int>(kHalfBand) + f;
    const auto* scales = reinterpret_cast<const __half*>(stage + layout.scales_at);
    const float scale = __half2float(scales[scale_at]) * ops::kScaleUnit;
    if constexpr (kType == ops::WeightType::kInt8) {
#pragma unroll
      for (int i = 0; i < kWeightBlock; ++i) {
        to[i] = scale * static_cast<float>(static_cast<signed char>(stage[ElementByte(f, at + i)]));
      }
    } else {
      const int group = at / layout.group * static_cast<int>(kHalfBand) + f;
      const auto ratio = static_cast<int8_t>(stage[layout.ratios_at + group]);
      const auto offset =
          static_cast<int8_t>(weight.format.symmetric ? 0 : stage[layout.offsets_at + group]);
#pragma unroll
      for (int i = 0; i < kWeightBlock; ++i) {
        const int64_t nibble = ElementNibble(f, at + i);
        const int code = (stage[nibble / 2] >> (nibble % 2 * 4) & 15) - 8;
        to[i] = scale * static_cast<float>(ops::ExpandCode(ratio, offset, code));
      }
    }
  }
}

}  // namespace tessera::cuda
