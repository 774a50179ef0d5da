// What the kernels of the linear layers multiply with.
#pragma once

#include "tessera/backend/cuda/layout.h"
#include "tessera/backend/cuda/wgmma.cuh"

namespace tessera::cuda {

// Slot of the ring and the parity of its use.
template <int kStages>
struct RingPosition {
  int slot = 0;
  uint32_t parity = 0;
  __device__ void Next() {
    if (++slot == kStages) slot = 0, parity ^= 1;
  }
};

template <int kRows>
using Sums = float[kRows / 2];

// One stage of bf16, both operands in shared memory; only started.
template <int kTileRows, int kRows, int kHalves>
__device__ __forceinline__ void MultiplyBF16(uint32_t stage, uint32_t rows, bool first,
                                             Sums<kRows> (&total)[kHalves]) {
  constexpr uint32_t kWeightStride = kHalfBand * 16;
  constexpr int kPacked = kTileRows < 128 ? kTileRows : 128;
  constexpr uint32_t kRowStride = kPacked * 16;
  const uint32_t a = stage + threadIdx.x / 128 % 2 * (64 * 16);
  WgmmaFence();
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    KeepOrder(total[half]);
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      Wgmma<kRows>::Shared(
          total[half], MatrixDescriptor(a + s * 2 * kWeightStride, kWeightStride),
          MatrixDescriptor(rows + half * (kPacked * 128) + s * 2 * kRowStride, kRowStride),
          first && s == 0 ? 0 : 1);
    }
  }
  WgmmaCommit();
}

}  // namespace tessera::cuda
