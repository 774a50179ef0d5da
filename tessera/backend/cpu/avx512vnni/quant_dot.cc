// Integer linear kernels for one row: each feature's bytes are multiplied where they are expanded,
// in registers, without a tile or a transposition in between. The sums of 16 features meet at the
// end of a segment. The same integers and the same fused operations as the other kernels.
//
// From two rows on, kernels that expand once for all are as fast (AMX, 12288x4096 in int4-g64, ms:
// 1 row 1.11 so and 1.17 to 1.27 on tiles, 2 rows 1.17, 4 rows 1.82).
#include <immintrin.h>

#include "tessera/backend/cpu/quant_loops.h"

namespace tessera::cpu::avx512vnni {
namespace {

// Per segment: scale, start value (-128 * sum of codes), padding to 64 bytes, then the codes.
constexpr int64_t kDotHeader = 64;

void PackDotRow(const PackRowsArgs& a) {
  char* to = static_cast<char*>(a.packed);
  for (int64_t k = 0; k < a.padded_in; k += a.segment) {
    const int64_t inputs = Min(a.segment, a.padded_in - k);
    const int64_t valid = a.in - k < 0 ? 0 : Min(a.in - k, inputs);
    int8_t* codes = reinterpret_cast<int8_t*>(to + kDotHeader);
    for (int64_t i = 0; i < inputs; ++i) codes[i] = 0;
    const float scale = QuantizeSegment(a.x + k, valid, codes) * kStoredScaleUnit;
    int32_t start = 0;
    for (int64_t i = 0; i < inputs; ++i) start -= codes[i];
    start *= 128;
    __builtin_memcpy(to, &scale, 4);
    __builtin_memcpy(to + 4, &start, 4);
    to += kDotHeader + inputs;
  }
}

__m128i Table(char ratio) {
  const auto* table = kCodeTables.of[static_cast<unsigned char>(ratio)];
  return _mm_load_si128(reinterpret_cast<const __m128i*>(table));
}

// 64 inputs of one feature as byte + 128.
template <int kBits>
__m512i Unsigned(const char* codes, const HalfCodes& low, const HalfCodes& high, int feature) {
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  if constexpr (kBits == 8) {
    return _mm512_xor_si512(_mm512_loadu_si512(codes + feature * 64), sign);
  } else {
    const __m512i raw = _mm512_broadcast_i64x4(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + feature * 32)));
    const __m512i shifts = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    const __m512i index = _mm512_and_si512(_mm512_srlv_epi16(raw, shifts), _mm512_set1_epi8(15));
    __m512i table = _mm512_broadcast_i32x4(Table(low.ratios[feature]));
    if (low.ratios != high.ratios) {
      table = _mm512_mask_broadcast_i32x4(table, 0xff00, Table(high.ratios[feature]));
    }
    __m512i bytes = _mm512_shuffle_epi8(table, index);
    if (low.offsets != nullptr) {
      bytes =
          _mm512_adds_epi8(bytes, _mm512_inserti64x4(_mm512_set1_epi8(low.offsets[feature]),
                                                     _mm256_set1_epi8(high.offsets[feature]), 1));
    }
    return _mm512_xor_si512(bytes, sign);
  }
}

// Lane f of the result is the sum of the lanes of sums[f].
__m512i SumLanes(const __m512i (&sums)[16]) {
  __m512i four[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i* s = sums + 4 * i;
    const __m512i a =
        _mm512_add_epi32(_mm512_unpacklo_epi32(s[0], s[1]), _mm512_unpackhi_epi32(s[0], s[1]));
    const __m512i b =
        _mm512_add_epi32(_mm512_unpacklo_epi32(s[2], s[3]), _mm512_unpackhi_epi32(s[2], s[3]));
    four[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
  }
  const __m512i a = _mm512_add_epi32(_mm512_shuffle_i32x4(four[0], four[1], 0x88),
                                     _mm512_shuffle_i32x4(four[0], four[1], 0xdd));
  const __m512i b = _mm512_add_epi32(_mm512_shuffle_i32x4(four[2], four[3], 0x88),
                                     _mm512_shuffle_i32x4(four[2], four[3], 0xdd));
  return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
}

template <int kBits>
void DotPanel(const PanelsArgs& a, int64_t panel) {
  const QuantLayout& layout = a.layout;
  const char* base = static_cast<const char*>(a.weights) + panel * layout.panel_bytes;
  const char* header = base;
  const char* x = static_cast<const char*>(a.packed_x);
  const char* codes = base + layout.codes;
  __m512 acc = _mm512_setzero_ps();
  for (int64_t k = 0; k < a.padded_in; k += layout.segment) {
    const int64_t inputs = Min(layout.segment, a.padded_in - k);
    __m512i sums[16];
#pragma GCC unroll 16
    for (int f = 0; f < 16; ++f) sums[f] = _mm512_setzero_si512();
    for (int64_t i = 0; i < inputs; i += 64) {
      const HalfCodes low = kBits == 4 ? HalfCodesOf(layout, header, i) : HalfCodes{};
      const HalfCodes high = kBits == 4 ? HalfCodesOf(layout, header, i + kHalf) : HalfCodes{};
      const __m512i value = _mm512_loadu_si512(x + kDotHeader + i);
#pragma GCC unroll 16
      for (int f = 0; f < 16; ++f) {
        // Every line once and in order, or the processor's own prefetchers lose the stream; the
        // empty statement keeps the compiler from moving the loads.
        asm volatile("" : "+r"(codes));
        if (f % (8 / kBits) == 0) _mm_prefetch(codes + 2048 + f * 8 * kBits, _MM_HINT_T0);
        sums[f] = _mm512_dpbusd_epi32(sums[f], Unsigned<kBits>(codes, low, high, f), value);
      }
      codes += 128 * kBits;
    }
    float x_scale;
    int start;
    __builtin_memcpy(&x_scale, x, 4);
    __builtin_memcpy(&start, x + 4, 4);
    const __m512i dot = _mm512_add_epi32(SumLanes(sums), _mm512_set1_epi32(start));
    const __m512 scale =
        _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(header)));
    const __m512 both = _mm512_mul_ps(_mm512_set1_ps(x_scale), scale);
    acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), both, acc);
    x += kDotHeader + inputs;
    header += layout.header_step;
  }
  alignas(64) float row[16];
  _mm512_store_ps(row, acc);
  StoreRow(a, 0, panel, 1, row);
}

template <int kBits>
void RunDotPanels(const PanelsArgs& a) {
  for (int64_t panel = a.panel_begin; panel < a.panel_end; ++panel) DotPanel<kBits>(a, panel);
}

template <int kBits>
constexpr LinearKernel DotKernel() {
  return {.isa = "avx512vnni",
          .x_bytes = 1,
          .segment_bytes = kDotHeader,
          .row_multiple = 1,
          .max_block_rows = 1,
          .pack_rows = PackDotRow,
          .panels = RunDotPanels<kBits>};
}

}  // namespace

const LinearKernel kDotInt8 = DotKernel<8>();
const LinearKernel kDotInt4 = DotKernel<4>();

}  // namespace tessera::cpu::avx512vnni
