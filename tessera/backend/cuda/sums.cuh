// Sums over the lanes of a warp and the threads of a block, in an order that depends on nothing but
// their number.
#pragma once

#include <cuda_runtime.h>

namespace tessera::cuda {

// The sum over the `kLanes` lanes around this one, in each of them. kLanes is a power of two.
template <int kLanes = 32>
__device__ __forceinline__ float WarpSum(float value) {
#pragma unroll
  for (int mask = kLanes / 2; mask > 0; mask /= 2) {
    value += __shfl_xor_sync(0xffffffff, value, mask);
  }
  return value;
}

// The sum over a block of kThreads, in each thread.
template <int kThreads>
__device__ __forceinline__ float BlockSum(float value) {
  __shared__ float sums[kThreads / 32];
  value = WarpSum(value);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int i = 0; i < kThreads / 32; ++i) total += sums[i];
  return total;
}

}  // namespace tessera::cuda
