// Integer linear kernels for AVX-512 VNNI: vpdpbusd on weights made unsigned and signed
// activations.
#include <immintrin.h>

#include "tessera/backend/cpu/quant_loops.h"

namespace tessera::cpu::avx512vnni {
namespace {

// 16 rows are 16 sums; broadcasts of the activations are memory operands, so that the load ports
// and the multipliers are equally busy.
template <int kWeightBits>
struct Micro {
  static constexpr int kBits = kWeightBits;
  static constexpr int kMaxRows = 16;

  // Line `line` of a half as q + 128 (int8) or 16 * q + 128 (int4).
  template <int kParity>
  static __m512i Line(const char* codes, int64_t line) {
    const __m512i raw = _mm512_loadu_si512(codes + line * 64);
    if constexpr (kBits == 8) {
      return _mm512_xor_si512(raw, _mm512_set1_epi8(static_cast<char>(0x80)));
    } else {
      const __m512i bits = kParity == 0 ? _mm512_slli_epi32(raw, 4) : raw;
      // (bits ^ 0x80) & 0xf0: 0x28 is the truth table of (A ^ B) & C.
      return _mm512_ternarylogic_epi32(bits, _mm512_set1_epi8(static_cast<char>(0x80)),
                                       _mm512_set1_epi8(static_cast<char>(0xf0)), 0x28);
    }
  }

  template <int R, int kParity>
  static void Half(const char* codes, const char* x, __m512i (&sum)[R]) {
#pragma GCC unroll 8
    for (int64_t line = 0; line < kHalfLines; ++line) {
      const __m512i w = Line<kParity>(codes, line);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        int quad;
        __builtin_memcpy(&quad, x + (line * R + r) * 4, 4);
        sum[r] = _mm512_dpbusd_epi32(sum[r], w, _mm512_set1_epi32(quad));
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
      __m512i sum[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        int start;
        __builtin_memcpy(&start, x + (R + r) * 4, 4);
        sum[r] = _mm512_set1_epi32(start);
      }
      x += kQuantHeader * R * 4;
      for (int64_t i = 0; i < a.segment; i += kHalf) {
        if constexpr (kBits == 8) {
          Half<R, 0>(codes, x, sum);
          codes += kHalfLines * 64;
        } else {
          if (half % 2 == 0) {
            Half<R, 0>(codes, x, sum);
          } else {
            Half<R, 1>(codes, x, sum);
            codes += kHalfLines * 64;
          }
          ++half;
        }
        x += kHalf * R;
      }
      const __m512 scale =
          _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales)));
      scales += a.scale_step;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        float* acc = a.acc + r * 16;
        const __m512 before = a.first && s == 0 ? _mm512_setzero_ps() : _mm512_load_ps(acc);
        _mm512_store_ps(acc,
                        _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r]),
                                        _mm512_mul_ps(_mm512_set1_ps(header[r]), scale), before));
      }
      if (mins == nullptr) continue;
      const __m512 min =
          _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(mins)));
      mins += a.scale_step;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        float* acc = a.acc + r * 16;
        _mm512_store_ps(
            acc, _mm512_fmadd_ps(_mm512_set1_ps(header[2 * R + r]), min, _mm512_load_ps(acc)));
      }
    }
  }
};

}  // namespace

const LinearKernel kLinearInt8 = QuantKernel<Micro<8>>("avx512vnni");
const LinearKernel kLinearInt4 = QuantKernel<Micro<4>>("avx512vnni");

}  // namespace tessera::cpu::avx512vnni
