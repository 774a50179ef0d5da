// What becomes of the sums of a product once all parts of them are in memory: parts are added in
// order, scaled, and written as the step asks. By the consumers of all blocks, which share the
// groups of 64 features x 8 rows.
#pragma once

#include <cuda_bf16.h>

#include "tessera/backend/cuda/linear_program.cuh"

namespace tessera::cuda {

// Between the warps that compute the factors of the norms and the consumers: named barriers of
// both.
inline constexpr int kScalers = 64;
template <int kBarrier>
struct Handover {
  static __device__ __forceinline__ void Arrive() {
    asm volatile("bar.arrive %0, %1;" ::"n"(kBarrier), "n"(kConsumers + kScalers) : "memory");
  }
  static __device__ __forceinline__ void Wait() {
    asm volatile("bar.sync %0, %1;" ::"n"(kBarrier), "n"(kConsumers + kScalers) : "memory");
  }
};
using ScalesReady = Handover<4>;
using ScalesUsed = Handover<5>;
__device__ __forceinline__ void ScalersSync() {
  asm volatile("bar.sync 6, %0;" ::"n"(kScalers) : "memory");
}

// The consumers' side: factors are waited for once per tile of rows.
class ScalesOfTile {
 public:
  __device__ __forceinline__ void Need(const LinearStep& step) {
    if (step.square_sums == nullptr || ready_) return;
    ScalesReady::Wait();
    ready_ = true;
  }
  __device__ __forceinline__ void Release(const LinearStep& step) {
    if (step.square_sums != nullptr) ScalesUsed::Arrive();
    ready_ = false;
  }

 private:
  bool ready_ = false;
};

// rsqrt(mean square + eps) of the rows of a tile into scales[0..tile rows), from the square sums of
// 64 inputs each: eight sums of every eighth, added in order, whatever the number of rows. By the
// kScalers threads; `scales` has room for [8][tile rows].
template <int kTileRows>
__device__ __forceinline__ void NormFactors(const LinearStep& step, int padded_rows, int first_row,
                                            float* scales) {
  const int count = static_cast<int>((step.weight.in + 63) / 64);
  const int thread = static_cast<int>(threadIdx.x % kScalers);
  for (int i = thread; i < 8 * kTileRows; i += kScalers) {
    const int row = first_row + i % kTileRows;
    float sum = 0;
    if (row < padded_rows) {
#pragma unroll 8
      for (int at = i / kTileRows; at < count; at += 8) {
        sum += step.square_sums[static_cast<int64_t>(at) * padded_rows + row];
      }
    }
    scales[i] = sum;
  }
  ScalersSync();
  for (int row = thread; row < kTileRows; row += kScalers) {
    float sum = scales[row];
#pragma unroll
    for (int i = 1; i < 8; ++i) sum += scales[i * kTileRows + row];
    scales[row] = rsqrtf(sum / static_cast<float>(step.weight.in) + step.eps);
  }
}

// Four values of a lane: features f and f + 8 of rows 2t and 2t + 1 in a group of 64 features x 8
// rows, as [feature][row].
struct Quad {
  float value[2][2];
};

// The features and rows of a lane in a group.
struct LanePlace {
  int feature, row;  // and feature + 8, row + 1
  bool known[2][2];  // [feature][row]: neither padding nor a surplus row
  bool known_feature[2];

  __device__ __forceinline__ LanePlace(const LinearProgram& program, const LinearStep& step,
                                       int first_row, int group, int row_group) {
    const int warp = static_cast<int>(threadIdx.x / 32 % 4);
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int end = static_cast<int>(step.feature_end < 0 ? step.weight.out : step.feature_end);
    feature = static_cast<int>(step.feature_begin) + group * 64 + warp * 16 + lane / 4;
    row = first_row + row_group * 8 + 2 * (lane % 4);
#pragma unroll
    for (int f = 0; f < 2; ++f) {
      known_feature[f] = feature + 8 * f < end;
#pragma unroll
      for (int r = 0; r < 2; ++r) known[f][r] = known_feature[f] && row + r < program.rows;
    }
  }
};

__device__ __forceinline__ BF16 ToBF16(float value) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

// The group's values after scales and bias, then what the step makes of them.
template <int kTileRows>
__device__ __forceinline__ void FinishGroup(const LinearProgram& program, const LinearStep& step,
                                            int first_row, int group, int row_group,
                                            const Quad& sum, const Quad& hidden,
                                            const float* scales, float* scratch) {
  const int warpgroup = static_cast<int>(threadIdx.x / 128 % 2);
  const int warp = static_cast<int>(threadIdx.x / 32 % 4),
            lane = static_cast<int>(threadIdx.x % 32);
  const int out = static_cast<int>(step.weight.out), half_out = out / 2;
  const LanePlace place(program, step, first_row, group, row_group);
  const int feature = place.feature, row = place.row;
  int source[2] = {feature, feature + 8};
  if (step.weight.paired) {
    source[0] = static_cast<int>(PairedRow(feature, half_out));
    source[1] = source[0] + half_out;
  }
  float value[2][2] = {{sum.value[0][0], sum.value[0][1]}, {sum.value[1][0], sum.value[1][1]}};
  if (step.weight.feature_scales != nullptr) {
#pragma unroll
    for (int f = 0; f < 2; ++f) {
      const float scale =
          place.known_feature[f] ? __ldg(step.weight.feature_scales + feature + 8 * f) : 0.f;
      value[f][0] *= scale;
      value[f][1] *= scale;
    }
  }
  if (step.square_sums != nullptr) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float scale = scales[row - first_row + r];
      value[0][r] *= scale;
      value[1][r] *= scale;
    }
  }
  if (step.bias != nullptr) {
#pragma unroll
    for (int f = 0; f < 2; ++f) {
      const float bias = place.known_feature[f] ? __ldg(step.bias + source[f]) : 0.f;
      value[f][0] += bias;
      value[f][1] += bias;
    }
  }
  switch (step.output) {
    case LinearStep::Output::kRows:
#pragma unroll
      for (int f = 0; f < 2; ++f) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          if (!place.known[f][r]) continue;
          float* y = step.y + (row + r) * step.stride + source[f] - step.feature_begin;
          *y = step.accumulate ? *y + value[f][r] : value[f][r];
        }
      }
      break;
    case LinearStep::Output::kSilu: {
      const int at = feature / 16 * 8 + feature % 8;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float gate = value[0][r];
        const float v = place.known_feature[1] ? gate / (1.f + expf(-gate)) * value[1][r] : 0.f;
        step.packed[ActivationIndex(row + r, at, program.padded_rows, half_out)] = ToBF16(v);
      }
      break;
    }
    case LinearStep::Output::kResidual: {
      float h[2][2] = {};
#pragma unroll
      for (int f = 0; f < 2; ++f) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          if (!place.known[f][r]) continue;
          h[f][r] = hidden.value[f][r] + value[f][r];
          step.hidden[static_cast<int64_t>(row + r) * out + feature + 8 * f] = h[f][r];
        }
      }
      if (step.norm_weight == nullptr) break;
      float squares[2] = {0, 0};
#pragma unroll
      for (int f = 0; f < 2; ++f) {
        const float weight =
            place.known_feature[f] ? __ldg(step.norm_weight + feature + 8 * f) : 0.f;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          step.packed[ActivationIndex(row + r, feature + 8 * f, program.padded_rows, out)] =
              ToBF16(h[f][r] * weight);
          squares[r] += h[f][r] * h[f][r];
        }
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int mask = 4; mask < 32; mask *= 2) {
          squares[r] += __shfl_xor_sync(0xffffffff, squares[r], mask);
        }
      }
      float* sums = scratch + warpgroup * 32;  // [4 warps][8 rows]
      if (lane < 4) {
        sums[warp * 8 + 2 * lane] = squares[0];
        sums[warp * 8 + 2 * lane + 1] = squares[1];
      }
      asm volatile("bar.sync %0, 128;" ::"r"(2 + warpgroup) : "memory");
      const int thread = static_cast<int>(threadIdx.x % 128);
      if (thread < 8 && group * 64 < out) {
        step.out_square_sums[static_cast<int64_t>(group) * program.padded_rows + first_row +
                             row_group * 8 + thread] =
            sums[thread] + sums[8 + thread] + sums[16 + thread] + sums[24 + thread];
      }
      asm volatile("bar.sync %0, 128;" ::"r"(2 + warpgroup) : "memory");
      break;
    }
  }
}

// Groups of 8 rows of a tile: a power of two.
template <int kTileRows>
__device__ __forceinline__ int RowGroups(const LinearProgram& program, int first_row) {
  return min(kTileRows, program.padded_rows - first_row) / 8;
}

// Which groups a warpgroup finishes: of all in a row, 8 rows first, every `stride`th from `first`
// to `end`. Group 0 holds the features of group `base` of the matrix.
struct FinishRange {
  int base, first, stride, end;
  bool whole;  // of a band that this block has summed alone
};

// Adds up the parts of four groups at a time, so that the loads of one hide those of the others,
// and finishes them in a loop: the code runs once per product, so that what counts is to fetch
// little of it.
template <int kTileRows>
__device__ __forceinline__ void Finish(const LinearProgram& program, int step_index, int tile,
                                       int parity, const FinishRange& range, const float* scales,
                                       float* scratch) {
  constexpr int kAtOnce = 4, kBatch = 3;  // groups, and parts of each, under way
  constexpr int kPartStride = 4 * (kTileRows / 8) * 128;
  const LinearStep& step = program.steps[step_index];
  const LinearPlan& plan = program.plans[step_index];
  const int first_row = tile * kTileRows;
  const int row_bits = 31 - __clz(RowGroups<kTileRows>(program, first_row));
  const int row_mask = (1 << row_bits) - 1;
  for (int at = range.first; at < range.end; at += range.stride * kAtOnce) {
    Quad sum[kAtOnce], hidden[kAtOnce];
    const float4* part[kAtOnce];
    int parts[kAtOnce], most = 0;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int index = at + i * range.stride;
      const int group = range.base + (index >> row_bits), row_group = index & row_mask;
      int slot = plan.WholeSlot(static_cast<int>(blockIdx.x / 2));
      parts[i] = index < range.end ? 1 : 0;
      if (!range.whole) {
        const int band = group / 4 - plan.split_begin();
        // Packed outputs are padded with zeros beyond the features.
        if (band >= plan.split) parts[i] = 0;
        if (parts[i] > 0) {
          const int run = plan.RunOf(band * plan.stages);
          parts[i] = plan.RunOf((band + 1) * plan.stages - 1) - run + 1;
          slot = plan.SplitSlot(band, run);
        }
      }
      part[i] = program.parts + PartIndex(program, parity, slot, kTileRows, group % 4, row_group) +
                threadIdx.x % 128;
      most = max(most, parts[i]);
      sum[i] = {};
      hidden[i] = {};
      if (step.output == LinearStep::Output::kResidual && parts[i] > 0) {
        const LanePlace place(program, step, first_row, group, row_group);
        const float* from = step.hidden + place.row * step.weight.out + place.feature;
#pragma unroll
        for (int f = 0; f < 2; ++f) {
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            if (place.known[f][r]) hidden[i].value[f][r] = from[r * step.weight.out + 8 * f];
          }
        }
      }
    }
    for (int p = 0; p < most; p += kBatch) {
      float4 batch[kAtOnce][kBatch];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
        for (int b = 0; b < kBatch; ++b) {
          batch[i][b] = make_float4(0, 0, 0, 0);
          if (p + b < parts[i]) batch[i][b] = __ldcg(part[i] + (p + b) * kPartStride);
        }
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
        for (int b = 0; b < kBatch; ++b) {
          sum[i].value[0][0] += batch[i][b].x, sum[i].value[0][1] += batch[i][b].y;
          sum[i].value[1][0] += batch[i][b].z, sum[i].value[1][1] += batch[i][b].w;
        }
      }
    }
#pragma unroll 1
    for (int i = 0; i < kAtOnce; ++i) {
      const int index = at + i * range.stride;
      if (index >= range.end) break;
      // Moves, as registers have no index.
      const Quad chosen = i == 0 ? sum[0] : i == 1 ? sum[1] : i == 2 ? sum[2] : sum[3];
      const Quad before = i == 0 ? hidden[0] : i == 1 ? hidden[1] : i == 2 ? hidden[2] : hidden[3];
      FinishGroup<kTileRows>(program, step, first_row, range.base + (index >> row_bits),
                             index & row_mask, chosen, before, scales, scratch);
    }
  }
}

}  // namespace tessera::cuda
