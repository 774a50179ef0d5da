// 8 floats in a ymm register, for the kernel templates of backend/cpu. Unnamed namespace: see
// avx512/vec.h.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace tessera::cpu::avx2 {
namespace {

struct Vec {
  using F = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kTileRows = 4, kTileColumns = 2;  // 8 sums of 16 registers

  static F Load(const float* p) { return _mm256_loadu_ps(p); }
  // Even and odd elements of 2 * kLanes bf16 values.
  static void LoadBf16Pair(const uint16_t* p, F* even, F* odd) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    *even = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
    *odd = _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(-65536)));
  }
  // kLanes signed bytes.
  static F LoadInt8(const int8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
  static void Store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static float First(F x) { return _mm256_cvtss_f32(x); }
  static F Set(float x) { return _mm256_set1_ps(x); }
  static F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm256_div_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  // b if either is NaN.
  static F Max(F a, F b) { return _mm256_max_ps(a, b); }
  static F Min(F a, F b) { return _mm256_min_ps(a, b); }
  static F Round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // x * 2^n for integral n and normal results.
  static F Scale(F x, F n) {
    const __m256i shift = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), shift));
  }
  // Bit i: the comparison holds in lane i; false if either is NaN.
  static uint32_t MaskLess(F a, F b) { return Bits(_mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
  static uint32_t MaskLessEqual(F a, F b) { return Bits(_mm256_cmp_ps(a, b, _CMP_LE_OQ)); }
  static uint32_t MaskNaN(F x) { return Bits(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)); }
  // Bit i ? a : b
  static F Select(uint32_t bits, F a, F b) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane);
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane)));
  }
  // a < b ? yes : no
  static F SelectLess(F a, F b, F yes, F no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  // Lane i with lane i + 4, then i + 2, i + 1.
  static float ReduceAdd(F x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  // Unspecified if a lane is NaN.
  static float ReduceMax(F x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }

 private:
  static uint32_t Bits(F mask) { return static_cast<uint32_t>(_mm256_movemask_ps(mask)); }
};

}  // namespace
}  // namespace tessera::cpu::avx2
