// Stores of 8 and 16 bytes: nvcc 13.0 cuts most assignments of an aligned uint4 into four words.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tessera::cuda {

__device__ __forceinline__ void StoreWords(void* to, uint32_t a, uint32_t b) {
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)), "r"(a),
               "r"(b)
               : "memory");
}
__device__ __forceinline__ void StoreWords(void* to, uint32_t a, uint32_t b, uint32_t c,
                                           uint32_t d) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}
__device__ __forceinline__ void StoreFour(void* to, const float* value) {
  StoreWords(to, __float_as_uint(value[0]), __float_as_uint(value[1]), __float_as_uint(value[2]),
             __float_as_uint(value[3]));
}

// Two values rounded to bf16, `first` at the lower address.
__device__ __forceinline__ uint32_t PackBF16(float first, float second) {
  uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
  return bits;
}

}  // namespace tessera::cuda
