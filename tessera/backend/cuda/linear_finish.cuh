// What becomes of the sums of a product once all parts of them are in memory: parts are added in
// order, scaled, and written as the step asks. By the consumers of all blocks, which share the
// groups of 64 features x 8 rows.
#pragma once

#include <cuda_bf16.h>

#include "tessera/backend/cuda/linear_program.cuh"

namespace tessera::cuda {

// rsqrt(mean square + eps) of the rows of a tile into scales[0..tile rows), from the square sums of
// 64 inputs each: eight sums of every eighth, added in order, whatever the number of rows.
// `scales` has room for [8][tile rows]. Ends with a barrier of the consumers.
template <int kTileRows>
__device__ __forceinline__ void RowScales(const LinearStep& step, int padded_rows, int first_row,
                                          float* scales) {
  const int count = static_cast<int>((step.weight.in + 63) / 64);
  const int thread = static_cast<int>(threadIdx.x % kConsumers);
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
  for (int i = thread; i < 8 * kTileRows; i += kConsumers) {
    const int row = first_row + i % kTileRows;
    float sum = 0;
    if (row < padded_rows) {
#pragma unroll 4
      for (int at = i / kTileRows; at < count; at += 8) {
        sum += step.square_sums[static_cast<int64_t>(at) * padded_rows + row];
      }
    }
    scales[i] = sum;
  }
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
  for (int row = thread; row < kTileRows; row += kConsumers) {
    float sum = scales[row];
#pragma unroll
    for (int i = 1; i < 8; ++i) sum += scales[i * kTileRows + row];
    scales[row] = rsqrtf(sum / static_cast<float>(step.weight.in) + step.eps);
  }
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
}

// The sums of four elements of a lane: features f and f + 8, rows 2t and 2t + 1 of a group of 8.
__device__ __forceinline__ float4 SumParts(const LinearProgram& program, const LinearPlan& plan,
                                           int parity, int tile_rows, int band, int feature_group,
                                           int row_group) {
  constexpr int kBatch = 6;  // loads under way
  const int first = plan.PairOf(band * plan.stages);
  const int last = plan.PairOf((band + 1) * plan.stages - 1);
  const int64_t stride = PartIndex(program, 0, 1, tile_rows, 0, 0);
  const float4* part =
      program.parts +
      PartIndex(program, parity, plan.Slot(band, first), tile_rows, feature_group, row_group) +
      threadIdx.x % 128;
  float4 sum = make_float4(0, 0, 0, 0);
  bool any = false;
  for (int pair = first; pair <= last; pair += kBatch) {
    float4 batch[kBatch];
    bool used[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      // Small matrices leave pairs without work.
      used[i] = pair + i <= last && plan.Begin(pair + i) < plan.Begin(pair + i + 1);
      if (used[i]) batch[i] = __ldcg(part + (pair + i - first) * stride);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (!used[i]) continue;
      if (!any) {
        sum = batch[i];
        any = true;
      } else {
        sum.x += batch[i].x, sum.y += batch[i].y, sum.z += batch[i].z, sum.w += batch[i].w;
      }
    }
  }
  return sum;
}

__device__ __forceinline__ BF16 ToBF16(float value) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

template <int kTileRows>
__device__ __forceinline__ void Finish(const LinearProgram& program, int step_index, int tile,
                                       int parity, float* scales, float* scratch) {
  const LinearStep& step = program.steps[step_index];
  const LinearPlan& plan = program.plans[step_index];
  const int first_row = tile * kTileRows;
  if (step.square_sums != nullptr) {
    RowScales<kTileRows>(step, program.padded_rows, first_row, scales);
  }
  const int64_t end = step.feature_end < 0 ? step.weight.out : step.feature_end;
  // Packed outputs are padded with zeros beyond the features.
  const int64_t computed = plan.bands * kBand;
  const int64_t features =
      step.output == LinearStep::Output::kSilu ? 2 * PaddedInputs(step.weight.out / 2) : computed;
  const int tile_groups = min(kTileRows, program.padded_rows - first_row) / 8;
  const int items = static_cast<int>(features / 64) * tile_groups;
  const int warpgroup = static_cast<int>(threadIdx.x / 128 % 2);
  const int warp = static_cast<int>(threadIdx.x / 32 % 4),
            lane = static_cast<int>(threadIdx.x % 32);
  const int g = lane / 4, t = lane % 4;
  for (int item = static_cast<int>(blockIdx.x * 2) + warpgroup; item < items;
       item += static_cast<int>(gridDim.x * 2)) {
    const int group = item / tile_groups, row_group = item - group * tile_groups;
    const bool padding = group * 64 >= computed;
    float4 sum = make_float4(0, 0, 0, 0);
    if (!padding) {
      sum = SumParts(program, plan, parity, kTileRows, group / 4, group % 4, row_group);
    }
    const int64_t feature = step.feature_begin + group * 64 + warp * 16 + g;  // and feature + 8
    const int row = first_row + row_group * 8 + 2 * t;                        // and row + 1
    const bool known[2] = {feature < end, feature + 8 < end};
    float value[2][2] = {{sum.x, sum.y}, {sum.z, sum.w}};  // [feature][row]
    const bool paired = step.weight.paired;
    int64_t source[2] = {feature, feature + 8};
    if (paired) {
      source[0] = PairedRow(feature, step.weight.out / 2);
      source[1] = source[0] + step.weight.out / 2;
    }
#pragma unroll
    for (int f = 0; f < 2; ++f) {
      if (!known[f]) continue;
      const float scale =
          step.weight.feature_scales != nullptr ? step.weight.feature_scales[feature + 8 * f] : 1.f;
      const float bias = step.bias != nullptr ? step.bias[source[f]] : 0.f;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float v = value[f][r] * scale;
        if (step.square_sums != nullptr) v *= scales[row - first_row + r];
        value[f][r] = v + bias;
      }
    }
    switch (step.output) {
      case LinearStep::Output::kRows:
#pragma unroll
        for (int f = 0; f < 2; ++f) {
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            if (!known[f] || row + r >= program.rows) continue;
            float* y = step.y + (row + r) * step.stride + source[f] - step.feature_begin;
            *y = step.accumulate ? *y + value[f][r] : value[f][r];
          }
        }
        break;
      case LinearStep::Output::kSilu: {
        const int64_t out = feature / 16 * 8 + feature % 8, width = step.weight.out / 2;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const float gate = value[0][r];
          const float v = known[1] ? gate / (1.f + expf(-gate)) * value[1][r] : 0.f;
          step.packed[ActivationIndex(row + r, out, program.padded_rows, width)] = ToBF16(v);
        }
        break;
      }
      case LinearStep::Output::kResidual: {
        float squares[2] = {0, 0};
#pragma unroll
        for (int f = 0; f < 2; ++f) {
          const int64_t at = feature + 8 * f;
          const float weight = step.norm_weight != nullptr && known[f] ? step.norm_weight[at] : 0.f;
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            float h = 0;
            if (known[f] && row + r < program.rows) {
              float* hidden = step.hidden + (row + r) * step.weight.out + at;
              h = *hidden + value[f][r];
              *hidden = h;
            }
            if (step.norm_weight != nullptr) {
              step.packed[ActivationIndex(row + r, at, program.padded_rows, step.weight.out)] =
                  ToBF16(h * weight);
              squares[r] += h * h;
            }
          }
        }
        if (step.norm_weight == nullptr) break;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
#pragma unroll
          for (int mask = 4; mask < 32; mask *= 2) {
            squares[r] += __shfl_xor_sync(0xffffffff, squares[r], mask);
          }
        }
        float* sums = scratch + warpgroup * 32;  // [4 warps][8 rows]
        if (g == 0) {
          sums[warp * 8 + 2 * t] = squares[0];
          sums[warp * 8 + 2 * t + 1] = squares[1];
        }
        asm volatile("bar.sync %0, 128;" ::"r"(2 + warpgroup) : "memory");
        const int thread = static_cast<int>(threadIdx.x % 128);
        if (thread < 8 && group * 64 < step.weight.out) {
          step.out_square_sums[static_cast<int64_t>(group) * program.padded_rows + first_row +
                               row_group * 8 + thread] =
              sums[thread] + sums[8 + thread] + sums[16 + thread] + sums[24 + thread];
        }
        asm volatile("bar.sync %0, 128;" ::"r"(2 + warpgroup) : "memory");
        break;
      }
    }
  }
}

}  // namespace tessera::cuda
