// From stored weights to the bf16 operands of the tensor cores: what a lane does with the words of
// a 16 x 16 step (layout.h) to get the four registers of an A operand. Every decoded integer is
// exact in bf16; scales are applied to the sums.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "tessera/backend/cuda/layout.h"

namespace tessera::cuda {

// (a & b) | c
__device__ __forceinline__ uint32_t AndOr(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
__device__ __forceinline__ uint32_t SubBF16(uint32_t a, uint32_t b) {
  const __nv_bfloat162 d =
      __hsub2(reinterpret_cast<__nv_bfloat162&>(a), reinterpret_cast<__nv_bfloat162&>(b));
  return reinterpret_cast<const uint32_t&>(d);
}

// The low byte of each half word, a signed integer, as bf16. In bf16 0x4300 is 128 with a unit of
// 1: 128 + the low seven bits, less 128, or less 256 where the sign is set.
__device__ __forceinline__ uint32_t BytesToBF16(uint32_t word) {
  return SubBF16(AndOr(word, 0x007f007f, 0x43004300), AndOr(word, 0x00800080, 0x43004300));
}

// Two words of 8-bit integers.
__device__ __forceinline__ void DecodeInt8(uint32_t low, uint32_t high, uint32_t* a) {
  a[0] = BytesToBF16(low);
  a[1] = BytesToBF16(low >> 8);
  a[2] = BytesToBF16(high);
  a[3] = BytesToBF16(high >> 8);
}

// e4m3 in the high byte of each half word: sign, exponent and mantissa moved to their places in
// bf16 make 2^-120 times the value (the biases are 7 and 127), subnormals included.
__device__ __forceinline__ uint32_t HighF8ToBF16(uint32_t word) {
  uint32_t bits = AndOr(word, 0x80008000, (word >> 4) & 0x07f007f0);
  const uint32_t unit = 0x7b807b80;  // 2^120
  const __nv_bfloat162 d = __hmul2(reinterpret_cast<__nv_bfloat162&>(bits),
                                   reinterpret_cast<const __nv_bfloat162&>(unit));
  return reinterpret_cast<const uint32_t&>(d);
}
__device__ __forceinline__ void DecodeF8(uint32_t low, uint32_t high, uint32_t* a) {
  a[0] = HighF8ToBF16(low << 8);
  a[1] = HighF8ToBF16(low);
  a[2] = HighF8ToBF16(high << 8);
  a[3] = HighF8ToBF16(high);
}

// What int4 codes of one feature and group stand for: byte = saturate(nearest(ratio * q * 2/15) +
// offset), see ops/weight_rounding.h. In binary16, where each step is exact: 16 + (q + 8) has its
// code in the highest mantissa bits; times the ratio less 24 ratios it is ratio * q; times 2/15
// plus 1536, whose unit is 1, it is rounded to the nearest integer (the error of 2/15 is below
// 0.0315 for results that do not saturate, and the nearest tie is 1/30 away).
struct Int4Table {
  __half2 ratio, minus24, offset;
  __device__ __forceinline__ Int4Table(signed char ratio_byte, signed char offset_byte)
      : ratio(ByteToHalf2(ratio_byte)),
        minus24(__hmul2(ratio, __float2half2_rn(-24.f))),
        offset(ByteToHalf2(offset_byte)) {}

 private:
  // 0x6400 is 1024 with a unit of 1; conversion instructions would be slower.
  static __device__ __forceinline__ __half2 ByteToHalf2(signed char byte) {
    const uint32_t bits = 0x64006400u | (static_cast<uint32_t>(byte + 128) * 0x00010001u);
    return __hsub2(reinterpret_cast<const __half2&>(bits), __float2half2_rn(1152.f));
  }
};
// Without kOffset no result may saturate.
template <bool kOffset>
__device__ __forceinline__ uint32_t NibblesToBF16(uint32_t shifted, const Int4Table& table) {
  uint32_t code = AndOr(shifted, 0x03c003c0, 0x4c004c00);
  __half2 v = __hfma2(reinterpret_cast<__half2&>(code), table.ratio, table.minus24);
  v = __hfma2(v, __float2half2_rn(2.f / 15.f), __float2half2_rn(1536.f));
  if (kOffset) {
    const __half2 least = __float2half2_rn(1536.f - 128.f), most = __float2half2_rn(1536.f + 127.f);
    v = __hmin2(__hmax2(v, least), most);
    v = __hmin2(__hmax2(__hadd2(v, table.offset), least), most);
  }
  return BytesToBF16(reinterpret_cast<const uint32_t&>(v));
}
// One word; even pairs belong to the first feature, odd ones to the second.
template <bool kOffset>
__device__ __forceinline__ void DecodeInt4(uint32_t word, const Int4Table& first,
                                           const Int4Table& second, uint32_t* a) {
  a[0] = NibblesToBF16<kOffset>(word << 6, first);
  a[1] = NibblesToBF16<kOffset>(word << 2, second);
  a[2] = NibblesToBF16<kOffset>(word >> 2, first);
  a[3] = NibblesToBF16<kOffset>(word >> 6, second);
}

// A scale as it is stored, in units of ops::kScaleUnit = 2^-10.
__device__ __forceinline__ float StoredScaleValue(const unsigned char* at) {
  return __half2float(*reinterpret_cast<const __half*>(at)) * 0x1p-10f;
}

}  // namespace tessera::cuda
