// 16 floats in a zmm register, for the kernel templates of backend/cpu.
//
// In an unnamed namespace on purpose: templates instantiated with this type get internal linkage,
// so no code built with AVX-512 flags can be linked into baseline functions.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace tessera::cpu::avx512 {
namespace {

struct Vec {
  using F = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kTileColumns = 4;  // vectors per row of a 4-row register tile: 16 of 32

  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static F LoadBf16(const uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static void Store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F Set(float x) { return _mm512_set1_ps(x); }
  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  // b if either is NaN.
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F Round(F x) { return _mm512_roundscale_ps(x, 0); }
  // x * 2^n for integral n and normal results.
  static F Scale(F x, F n) {
    const __m512i shift = _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), shift));
  }
  // Bit i: the comparison holds in lane i; false if either is NaN.
  static uint32_t MaskLess(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static uint32_t MaskLessEqual(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
  static uint32_t MaskNaN(F x) { return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q); }
  // Bit i ? a : b
  static F Select(uint32_t bits, F a, F b) {
    return _mm512_mask_blend_ps(static_cast<__mmask16>(bits), b, a);
  }
  // a < b ? yes : no
  static F SelectLess(F a, F b, F yes, F no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
  }
};

}  // namespace
}  // namespace tessera::cpu::avx512
