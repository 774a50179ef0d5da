// Softmax over keys that come in splits: each has its own maximum, sum and output, and they are
// merged in order (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018).
#pragma once

#include <cstdint>

#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ uint32_t PackPair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Softmax of one row so far. A split without visible keys leaves everything as it is.
struct RowState {
  float most = -INFINITY, total = 0;

  // Takes in a split; outputs become Blend of old and new.
  __device__ __forceinline__ void Add(float split_most, float split_total, float* keep,
                                      float* take) {
    const float next = fmaxf(most, split_most);
    *keep = next == -INFINITY ? 1.f : Exp2(most - next);
    *take = split_most == -INFINITY ? 0.f : Exp2(split_most - next);
    total = __fmaf_rn(split_total, *take, __fmul_rn(total, *keep));
    most = next;
  }
  static __device__ __forceinline__ float Blend(float old, float added, float keep, float take) {
    return __fmaf_rn(added, take, __fmul_rn(old, keep));
  }
  __device__ __forceinline__ float Factor() const {
    return total == 0 ? 0.f : __fdiv_rn(1.f, total);
  }
};

}  // namespace tessera::cuda
