// 4 floats in a GCC/Clang vector, for the kernel templates of backend/cpu: SSE2, NEON or plain
// scalars, whatever the compiler's baseline is.
#pragma once

#include <stdint.h>
#include <string.h>

namespace tessera::cpu::generic {
namespace {

struct Vec {
  typedef float F __attribute__((vector_size(16)));
  typedef int32_t I __attribute__((vector_size(16)));
  typedef uint32_t U __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;
  static constexpr int kTileRows = 4, kTileColumns = 2;  // 8 sums of 16 registers

  static F Load(const float* p) {
    F x;
    memcpy(&x, p, sizeof x);
    return x;
  }
  // Even and odd elements of 2 * kLanes bf16 values.
  static void LoadBf16Pair(const uint16_t* p, F* even, F* odd) {
    const U e = {p[0], p[2], p[4], p[6]}, o = {p[1], p[3], p[5], p[7]};
    *even = reinterpret_cast<F>(e << 16);
    *odd = reinterpret_cast<F>(o << 16);
  }
  // kLanes signed bytes.
  static F LoadInt8(const int8_t* p) {
    return __builtin_convertvector((I{p[0], p[1], p[2], p[3]}), F);
  }
  static void Store(float* p, F x) { memcpy(p, &x, sizeof x); }
  static float First(F x) { return x[0]; }
  static F Set(float x) { return F{x, x, x, x}; }
  static F Add(F a, F b) { return a + b; }
  static F Sub(F a, F b) { return a - b; }
  static F Mul(F a, F b) { return a * b; }
  static F Div(F a, F b) { return a / b; }
  static F Fma(F a, F b, F c) { return a * b + c; }
  // b if either is NaN.
  static F Max(F a, F b) { return Blend(a > b, a, b); }
  static F Min(F a, F b) { return Blend(a < b, a, b); }
  // Adding 1.5 * 2^23 leaves no fraction bits; |x| < 2^22 here.
  static F Round(F x) { return (x + 12582912.0f) - 12582912.0f; }
  // x * 2^n for integral n and normal results.
  static F Scale(F x, F n) {
    return reinterpret_cast<F>(reinterpret_cast<I>(x) + (__builtin_convertvector(n, I) << 23));
  }
  // Bit i: the comparison holds in lane i; false if either is NaN.
  static uint32_t MaskLess(F a, F b) { return Bits(a < b); }
  static uint32_t MaskLessEqual(F a, F b) { return Bits(a <= b); }
  static uint32_t MaskNaN(F x) { return Bits(x != x); }
  // Bit i ? a : b
  static F Select(uint32_t bits, F a, F b) {
    const U lane = {1, 2, 4, 8};
    const U all = {bits, bits, bits, bits};
    return Blend((all & lane) != 0, a, b);
  }
  // a < b ? yes : no
  static F SelectLess(F a, F b, F yes, F no) { return Blend(a < b, yes, no); }
  static float ReduceAdd(F x) { return (x[0] + x[2]) + (x[1] + x[3]); }
  // Unspecified if a lane is NaN.
  static float ReduceMax(F x) {
    const float a = x[0] > x[2] ? x[0] : x[2], b = x[1] > x[3] ? x[1] : x[3];
    return a > b ? a : b;
  }

 private:
  static F Blend(I mask, F a, F b) {
    return reinterpret_cast<F>((reinterpret_cast<I>(a) & mask) | (reinterpret_cast<I>(b) & ~mask));
  }
  static uint32_t Bits(I mask) {
    return static_cast<uint32_t>((mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8));
  }
};

}  // namespace
}  // namespace tessera::cpu::generic
