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
  static constexpr int kTileColumns = 2;  // vectors per row of a 4-row register tile: 8 of 16

  static F Load(const float* p) {
    F x;
    memcpy(&x, p, sizeof x);
    return x;
  }
  static F LoadBf16(const uint16_t* p) {
    const U bits = {p[0], p[1], p[2], p[3]};
    return reinterpret_cast<F>(bits << 16);
  }
  static void Store(float* p, F x) { memcpy(p, &x, sizeof x); }
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
