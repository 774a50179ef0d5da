// Integer linear kernels for AVX2: vpmaddubsw on magnitudes, signs moved to the activations.
#include <immintrin.h>

#include "tessera/backend/cpu/quant_loops.h"

namespace tessera::cpu::avx2 {
namespace {

// A line is two registers of 8 features. |w| <= 128 and |x| <= 127, so the sum of two products
// stays within 16 bits (32,512); unsigned weights times signed activations would saturate.
template <int kWeightBits>
struct Micro {
  static constexpr int kBits = kWeightBits;
  static constexpr int kMaxRows =
      4;  // 8 sums; with weights, magnitudes and ones 13 of 16 registers

  template <int kParity>
  static __m256i Line(const char* codes) {
    const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    if constexpr (kBits == 8) return raw;
    const __m256i bits = kParity == 0 ? _mm256_slli_epi32(raw, 4) : raw;
    return _mm256_and_si256(bits, _mm256_set1_epi8(static_cast<char>(0xf0)));
  }

  template <int R, int kParity>
  static void Half(const char* codes, const char* x, __m256i (&sum)[R][2]) {
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 1
    for (int64_t line = 0; line < kHalfLines; ++line) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256i w = Line<kParity>(codes + line * 64 + h * 32);
        const __m256i magnitude = _mm256_abs_epi8(w);  // -128 becomes 128, unsigned
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          int quad;
          __builtin_memcpy(&quad, x + (line * R + r) * 4, 4);
          const __m256i value = _mm256_sign_epi8(_mm256_set1_epi32(quad), w);
          sum[r][h] = _mm256_add_epi32(
              sum[r][h], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, value), ones));
        }
      }
    }
  }

  template <int R>
  static void Block(const QuantBlockArgs& a) {
    const char* x = a.x;
    const char* codes = a.codes;
    const char* scales = a.scales;
    const char* mins = a.mins;
    int64_t half = a.half;
    for (int64_t s = 0; s < a.segments; ++s) {
      const float* header = reinterpret_cast<const float*>(x);
      __m256i sum[R][2];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
      x += kQuantHeader * R * 4;
      for (int64_t i = 0; i < a.segment; i += kHalf) {
        if (kBits == 8 || half % 2 == 0) {
          Half<R, 0>(codes, x, sum);
        } else {
          Half<R, 1>(codes, x, sum);
        }
        if (kBits == 8 || half % 2 == 1) codes += kHalfLines * 64;
        ++half;
        x += kHalf * R;
      }
      for (int h = 0; h < 2; ++h) {
        const __m256 scale =
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + h * 16)));
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          float* acc = a.acc + r * 16 + h * 8;
          const __m256 before = a.first && s == 0 ? _mm256_setzero_ps() : _mm256_load_ps(acc);
          _mm256_store_ps(acc,
                          _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[r][h]),
                                          _mm256_mul_ps(_mm256_set1_ps(header[r]), scale), before));
        }
        if (mins == nullptr) continue;
        const __m256 min =
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(mins + h * 16)));
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          float* acc = a.acc + r * 16 + h * 8;
          _mm256_store_ps(
              acc, _mm256_fmadd_ps(_mm256_set1_ps(header[2 * R + r]), min, _mm256_load_ps(acc)));
        }
      }
      scales += a.scale_step;
      if (mins != nullptr) mins += a.scale_step;
    }
  }
};

}  // namespace

const LinearKernel kLinearInt8 = QuantKernel<Micro<8>>("avx2");
const LinearKernel kLinearInt4 = QuantKernel<Micro<4>>("avx2");

}  // namespace tessera::cpu::avx2
