// Integer linear kernels for AVX-512 VNNI: vpdpbusd on weights made unsigned and signed
// activations.
#include <immintrin.h>

#include "tessera/backend/cpu/quant_loops.h"

namespace tessera::cpu::avx512vnni {
namespace {

// 16 rows are 16 sums; broadcasts of the activations are memory operands, so that the load ports
// and the multipliers are equally busy.
struct Micro {
  static constexpr int kMaxRows = 16;

  static __m512i Tables(const char* ratios, const char* high_ratios, int feature) {
    const auto* tables = kCodeTables.of;
    const __m512i low = _mm512_broadcast_i32x4(_mm_load_si128(
        reinterpret_cast<const __m128i*>(tables[static_cast<unsigned char>(ratios[feature])])));
    return _mm512_mask_broadcast_i32x4(
        low, 0xff00,
        _mm_load_si128(reinterpret_cast<const __m128i*>(
            tables[static_cast<unsigned char>(high_ratios[feature])])));
  }

  static void Expand(const char* codes, const HalfCodes& low, const HalfCodes& high, char* to) {
    const __m512i shifts = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    const __m512i mask = _mm512_set1_epi8(15);
    for (int f = 0; f < 16; ++f) {
      const __m512i raw = _mm512_broadcast_i64x4(
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + f * 32)));
      const __m512i index = _mm512_and_si512(_mm512_srlv_epi16(raw, shifts), mask);
      __m512i bytes = _mm512_shuffle_epi8(Tables(low.ratios, high.ratios, f), index);
      if (low.offsets != nullptr) {
        const __m512i offset = _mm512_inserti64x4(_mm512_set1_epi8(low.offsets[f]),
                                                  _mm256_set1_epi8(high.offsets[f]), 1);
        bytes = _mm512_adds_epi8(bytes, offset);
      }
      _mm512_store_si512(to + f * 64, bytes);
    }
  }

  template <int R>
  static void Block(const QuantBlockArgs& a) {
    const float* scales_x = reinterpret_cast<const float*>(a.x);
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    __m512i sum[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      int start;
      __builtin_memcpy(&start, a.x + (R + r) * 4, 4);
      sum[r] = _mm512_set1_epi32(start);
    }
    const char* x = a.x + kQuantHeader * R * 4;
    const char* codes = a.codes;
    for (int64_t i = 0; i < a.inputs; i += 16) {
#pragma GCC unroll 4
      for (int line = 0; line < 4; ++line) {
        const __m512i w = _mm512_xor_si512(_mm512_load_si512(codes + line * 64), sign);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          int quad;
          __builtin_memcpy(&quad, x + (line * R + r) * 4, 4);
          sum[r] = _mm512_dpbusd_epi32(sum[r], w, _mm512_set1_epi32(quad));
        }
      }
      codes += 256;
      x += 16 * R;
    }
    const __m512 scale =
        _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a.scales)));
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      float* acc = a.acc + r * 16;
      const __m512 before = a.first ? _mm512_setzero_ps() : _mm512_load_ps(acc);
      const __m512 both = _mm512_mul_ps(_mm512_set1_ps(scales_x[r]), scale);
      _mm512_store_ps(acc, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r]), both, before));
    }
  }
};

}  // namespace

const LinearKernel kLinearInt8 = QuantKernel<Micro, 8>("avx512vnni");
const LinearKernel kLinearInt4 = QuantKernel<Micro, 4>("avx512vnni");

}  // namespace tessera::cpu::avx512vnni
