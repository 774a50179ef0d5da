// The products of attention_stream.cuh, and the softmax between them.
#pragma once

#include "tessera/backend/cuda/attention_shared.cuh"
#include "tessera/backend/cuda/attention_softmax.cuh"
#include "tessera/backend/cuda/wgmma.cuh"

namespace tessera::cuda {

// Rows of 128 bytes, whose 16-byte pieces the copy engine has swizzled within blocks of 8 rows.
__device__ __forceinline__ uint64_t SwizzledMatrix(uint32_t address) {
  return static_cast<uint64_t>((address & 0x3ffff) >> 4) | uint64_t{1} << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

using Tile64 = float[32];  // of a warpgroup: 64 rows x 64 columns

// score = Q KT of a page, started.
template <int kDim>
__device__ __forceinline__ void MultiplyKeys(const uint32_t (&q)[kDim / 16][4], uint32_t keys,
                                             Tile64& score) {
#pragma unroll
  for (int s = 0; s < kDim / 16; ++s) {
    Wgmma<64>::Registers(score, q[s], SwizzledMatrix(keys + s / 4 * 8192 + s % 4 * 32), s > 0);
  }
}

// The rows of a lane: kLaneRows of them, 8 apart. Those beyond the work's see what its first row
// sees.
template <int kLaneRows>
struct LaneRows {
  int32_t first;  // in the work
  int32_t visible_end[kLaneRows];

  __device__ __forceinline__ LaneRows(const DeviceStep& step, const PageWork& work,
                                      int32_t warp_row)
      : first(warp_row + static_cast<int32_t>(threadIdx.x % 32 / 4)) {
#pragma unroll
    for (int r = 0; r < kLaneRows; ++r) {
      visible_end[r] = VisibleEndOf(step, *work.group, work.rows.Row(At(work, r)));
    }
  }
  __device__ __forceinline__ bool IsReal(const PageWork& work, int r) const {
    return first + 8 * r < work.rows.count;
  }
  // Its folded row in the work.
  __device__ __forceinline__ int32_t At(const PageWork& work, int r) const {
    return IsReal(work, r) ? first + 8 * r : 0;
  }
};

using Weights = uint32_t[kSplitPages][4][4];  // of bf16, as the product with V reads them

// Hides the keys that a row does not see, and turns scores into weights.
template <int kLaneRows>
__device__ __forceinline__ void WeighKeys(const AttentionLaunch& args, const PageWork& work,
                                          const SplitHead& head, const SplitInfo& info,
                                          const LaneRows<kLaneRows>& rows, float scale,
                                          Tile64 (&score)[kSplitPages], Weights& weight,
                                          float (&most)[kLaneRows], float (&total)[kLaneRows]) {
  const int32_t begin = head.split * kAttentionSplit;
  int32_t least_end = rows.visible_end[0];
#pragma unroll
  for (int r = 1; r < kLaneRows; ++r) least_end = min(least_end, rows.visible_end[r]);
  if (!head.whole || least_end < begin + kAttentionSplit) {
    uint64_t visible[kLaneRows][kSplitPages];
    int32_t row[kLaneRows];
#pragma unroll
    for (int r = 0; r < kLaneRows; ++r) {
      row[r] = work.rows.Row(rows.At(work, r));
#pragma unroll
      for (int p = 0; p < kSplitPages; ++p) {
        visible[r][p] = (head.whole ? ~uint64_t{0} : info.listed[p]) &
                        LowBits(rows.visible_end[r] - begin - p * ops::kPageRows);
      }
    }
    if (head.fresh) {
      AddFreshKeys(args.step, *work.group, row, head.split * kSplitPages, visible);
    }
#pragma unroll
    for (int r = 0; r < kLaneRows; ++r) {
#pragma unroll
      for (int p = 0; p < kSplitPages; ++p) {
        const uint64_t keys = visible[r][p] >> (threadIdx.x % 4 * 2);
        const auto low = static_cast<uint32_t>(keys), high = static_cast<uint32_t>(keys >> 32);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& value = score[p][4 * j + 2 * r + e];
            value = (j < 4 ? low : high) >> (j % 4 * 8 + e) & 1 ? value : -INFINITY;
          }
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
    float largest = -INFINITY;
#pragma unroll
    for (int p = 0; p < kSplitPages; ++p) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        largest = fmaxf(largest, fmaxf(score[p][4 * j + 2 * r], score[p][4 * j + 2 * r + 1]));
      }
    }
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, 2));
    most[r] = largest * scale;
    const float base = largest == -INFINITY ? 0.f : most[r];
    float even_total = 0, odd_total = 0;
#pragma unroll
    for (int p = 0; p < kSplitPages; ++p) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float even = Exp2(__fmaf_rn(score[p][4 * j + 2 * r], scale, -base));
        const float odd = Exp2(__fmaf_rn(score[p][4 * j + 2 * r + 1], scale, -base));
        even_total += even;
        odd_total += odd;
        weight[p][j / 2][j % 2 * 2 + r] = PackPair(even, odd);
      }
    }
    float sum = even_total + odd_total;
    sum += __shfl_xor_sync(0xffffffff, sum, 1);
    sum += __shfl_xor_sync(0xffffffff, sum, 2);
    total[r] = sum;
  }
}

// sum = P V of 64 dimensions, whose first row of V is at `values`; waits for the result.
__device__ __forceinline__ void MultiplyValues(const Weights& weight,
                                               const uint32_t (&values)[kSplitPages], Tile64& sum) {
  KeepOrder(sum);
  WgmmaFence();
#pragma unroll
  for (int p = 0; p < kSplitPages; ++p) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      Wgmma<64>::Registers(sum, weight[p][s], SwizzledMatrix(values[p] + s * 32), p + s > 0);
    }
  }
  WgmmaCommit();
  WgmmaWait<0>();
  KeepOrder(sum);
}

template <int kDim, int kLaneRows>
__device__ __forceinline__ void LoadQuery(const AttentionLaunch& args, const PageWork& work,
                                          const LaneRows<kLaneRows>& rows,
                                          uint32_t (&q)[kDim / 16][4]) {
  const int64_t stride = int64_t{args.heads + 2 * args.kv.format.kv_heads} * kDim;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int32_t at = r < kLaneRows ? rows.At(work, r) : 0;
    const float* from = args.qkv + work.rows.Row(at) * stride + int64_t{work.rows.Head(at)} * kDim;
#pragma unroll
    for (int s = 0; s < kDim / 16; ++s) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float2 pair = {};
        if (r < kLaneRows) {
          pair = reinterpret_cast<const float2*>(from)[8 * s + 4 * half + threadIdx.x % 4];
        }
        q[s][2 * half + r] = PackPair(pair.x, pair.y);
      }
    }
  }
}

}  // namespace tessera::cuda
