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
  static constexpr int kTileRows = 4, kTileColumns = 4;  // 16 sums of 32 registers

  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  // Even and odd elements of 2 * kLanes bf16 values.
  static void LoadBf16Pair(const uint16_t* p, F* even, F* odd) {
    const __m512i words = _mm512_loadu_si512(p);
    *even = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
    *odd = _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(-65536)));
  }
  // kLanes signed bytes.
  static F LoadInt8(const int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }
  static void Store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static float First(F x) { return _mm512_cvtss_f32(x); }
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
  // Lane i with lane i + 8, then i + 4, i + 2, i + 1: the order of every level.
  static float ReduceAdd(F x) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
  }
  // Unspecified if a lane is NaN.
  static float ReduceMax(F x) {
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 quarter = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_max_ss(quarter, _mm_movehdup_ps(quarter)));
  }
};

}  // namespace
}  // namespace tessera::cpu::avx512
