// Integer linear kernels for AVX2: vpmaddubsw on magnitudes, signs moved to the activations.
#include <immintrin.h>

#include "tessera/backend/cpu/quant_loops.h"

namespace tessera::cpu::avx2 {
namespace {

// A line is two registers of 8 features. |w| <= 128 and |x| <= 127, so the sum of two products
// stays within 16 bits (32,512); unsigned weights times signed activations would saturate.
struct Micro {
  static constexpr int kMaxRows = 4;  // 8 sums; with weights, magnitudes and ones 13 registers

  // One half, [16][32] bytes of every 64, from nibbles in the low four bits of `index`.
  static __m256i Look(__m256i index, const HalfCodes& half, int feature) {
    const auto* table = kCodeTables.of[static_cast<unsigned char>(half.ratios[feature])];
    const __m256i bytes = _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table))),
        _mm256_and_si256(index, _mm256_set1_epi8(15)));
    if (half.offsets == nullptr) return bytes;
    return _mm256_adds_epi8(bytes, _mm256_set1_epi8(half.offsets[feature]));
  }

  static void Expand(const char* codes, const HalfCodes& low, const HalfCodes& high, char* to) {
    for (int f = 0; f < 16; ++f) {
      const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + f * 32));
      __m256i* line = reinterpret_cast<__m256i*>(to + f * 64);
      _mm256_store_si256(line, Look(raw, low, f));
      _mm256_store_si256(line + 1, Look(_mm256_srli_epi16(raw, 4), high, f));
    }
  }

  template <int R>
  static void Block(const QuantBlockArgs& a) {
    const float* scales_x = reinterpret_cast<const float*>(a.x);
    const __m256i ones = _mm256_set1_epi16(1);
    const char* x = a.x + kQuantHeader * R * 4;
    const char* codes = a.codes;
    __m256i sum[R][2];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int64_t i = 0; i < a.inputs; i += 4) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256i w = _mm256_load_si256(reinterpret_cast<const __m256i*>(codes + h * 32));
        const __m256i magnitude = _mm256_abs_epi8(w);  // -128 becomes 128, unsigned
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          int quad;
          __builtin_memcpy(&quad, x + r * 4, 4);
          const __m256i value = _mm256_sign_epi8(_mm256_set1_epi32(quad), w);
          sum[r][h] = _mm256_add_epi32(
              sum[r][h], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, value), ones));
        }
      }
      codes += 64;
      x += 4 * R;
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256 scale =
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a.scales + h * 16)));
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        float* acc = a.acc + r * 16 + h * 8;
        const __m256 before = a.first ? _mm256_setzero_ps() : _mm256_load_ps(acc);
        const __m256 both = _mm256_mul_ps(_mm256_set1_ps(scales_x[r]), scale);
        _mm256_store_ps(acc, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[r][h]), both, before));
      }
    }
  }
};

}  // namespace

const LinearKernel kLinearInt8 = QuantKernel<Micro, 8>("avx2");
const LinearKernel kLinearInt4 = QuantKernel<Micro, 4>("avx2");

}  // namespace tessera::cpu::avx2
