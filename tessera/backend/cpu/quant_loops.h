// What the integer linear kernels share: quantised activations, expansion of four-bit codes, and
// the loop nest of the vector levels.
//
// Like linear_loops.h: included only by the files of the instruction-set folders, internal linkage
// throughout, plain C loops over raw pointers. linear_kernels.h has layouts and formula.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "tessera/backend/cpu/linear_loops.h"

namespace tessera::cpu {
namespace {

constexpr int64_t kSegmentMax = 256;
constexpr int64_t kHalf = 32;  // inputs in the low, or the high, four bits of a run of 64
constexpr float kStoredScaleUnit = 9.765625e-4f;  // 2^-10, ops::kScaleUnit

// byte = kCodeTables.of[ratio & 255][q & 15]: ops::ExpandCode, which is a weak symbol.
struct CodeTables {
  alignas(64) signed char of[256][16];
};
constexpr CodeTables MakeCodeTables() {
  CodeTables tables = {};
  for (int ratio = -128; ratio < 128; ++ratio) {
    for (int code = -8; code < 8; ++code) {
      const int twice = 2 * ratio * code;
      const int value = (twice + (twice < 0 ? -7 : 7)) / 15;
      tables.of[ratio & 255][code & 15] = static_cast<signed char>(value < -128  ? -128
                                                                   : value > 127 ? 127
                                                                                 : value);
    }
  }
  return tables;
}
constexpr CodeTables kCodeTables = MakeCodeTables();

// Ratio and offset of one half of 32 inputs for 16 features; offsets may be null.
struct HalfCodes {
  const char* ratios;
  const char* offsets;
};
inline HalfCodes HalfCodesOf(const QuantLayout& layout, const char* header, int64_t input) {
  const char* ratios = header + 32 + (input >> layout.group_shift) * 16;
  return {ratios, layout.offsets == 0 ? nullptr : ratios + layout.offsets};
}

// Values of one row and segment as signed bytes in [-127, 127]: x ~ code * the returned scale.
// A value that is NaN or infinite makes the scale NaN, and with it every output of the row.
inline float QuantizeSegment(const float* x, int64_t count, int8_t* codes) {
  uint32_t largest = 0;  // of the magnitudes' bits: orders like the values, NaN and infinity last
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = BitsOf(x[i]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  if (largest >= 0x7f800000 || largest < 0x01000000) {  // not finite, or next to nothing
    for (int64_t i = 0; i < count; ++i) codes[i] = 0;
    return largest >= 0x7f800000 ? FloatOf(0x7fc00000) : 0.0f;
  }
  const float scale = FloatOf(largest) / 127.0f;
  const float inverse = 127.0f / FloatOf(largest);
  // Adding 1.5 * 2^23 rounds to nearest even into the low bits.
  constexpr float kRound = 12582912.0f;
  const uint32_t limit = BitsOf(kRound);
  for (int64_t i = 0; i < count; ++i) {
    codes[i] = static_cast<int8_t>(BitsOf(x[i] * inverse + kRound) - limit);
  }
  return scale;
}

// [16][row_bytes] -> [units][16] of 4 bytes; units is a multiple of 4.
inline void TransposeQuads(const char* rows, int64_t row_bytes, int64_t units, char* to) {
#if defined(__SSE2__)
  for (int64_t unit = 0; unit < units; unit += 4) {
    for (int64_t o = 0; o < 16; o += 4) {
      __m128i r[4];
      for (int64_t i = 0; i < 4; ++i) {
        r[i] = _mm_loadu_si128(
            reinterpret_cast<const __m128i*>(rows + (o + i) * row_bytes + unit * 4));
      }
      const __m128i low01 = _mm_unpacklo_epi32(r[0], r[1]), low23 = _mm_unpacklo_epi32(r[2], r[3]);
      const __m128i high01 = _mm_unpackhi_epi32(r[0], r[1]);
      const __m128i high23 = _mm_unpackhi_epi32(r[2], r[3]);
      __m128i* line = reinterpret_cast<__m128i*>(to + unit * 64 + o * 4);
      _mm_storeu_si128(line, _mm_unpacklo_epi64(low01, low23));
      _mm_storeu_si128(line + 4, _mm_unpackhi_epi64(low01, low23));
      _mm_storeu_si128(line + 8, _mm_unpacklo_epi64(high01, high23));
      _mm_storeu_si128(line + 12, _mm_unpackhi_epi64(high01, high23));
    }
  }
#else
  for (int64_t unit = 0; unit < units; ++unit) {
    for (int64_t o = 0; o < 16; ++o) {
      __builtin_memcpy(to + unit * 64 + o * 4, rows + o * row_bytes + unit * 4, 4);
    }
  }
#endif
}

// Activations of the vector levels. Per segment of a block of R rows: R scales (times the unit of
// the stored scales), R start values of the integer sums (-128 * sum of codes, for kernels that use
// weights as byte + 128), then codes [inputs / 4][R][4].
constexpr int64_t kQuantHeader = 2;  // 32-bit words per row
template <int kMaxRows>
void PackQuantRowBlocks(const PackRowsArgs& a) {
  const int64_t blocks = NumBlocks(a.rows, kMaxRows);
  const int64_t segments = NumBlocks(a.padded_in, a.segment);
  const int64_t row_bytes = a.padded_in + segments * kQuantHeader * 4;
  for (int64_t block = a.block_begin; block < a.block_end; ++block) {
    const int64_t row_begin = block * a.rows / blocks;
    const int64_t count = (block + 1) * a.rows / blocks - row_begin;
    char* to = static_cast<char*>(a.packed) + row_begin * row_bytes;
    for (int64_t k = 0; k < a.padded_in; k += a.segment) {
      const int64_t inputs = Min(a.segment, a.padded_in - k);
      const int64_t valid = a.in - k < 0 ? 0 : Min(a.in - k, inputs);
      char* codes = to + kQuantHeader * count * 4;
      for (int64_t r = 0; r < count; ++r) {
        int8_t row[kSegmentMax] = {};
        const float* x = a.x + (row_begin + r) * a.x_stride + k;
        const float scale = QuantizeSegment(x, valid, row) * kStoredScaleUnit;
        int32_t start = 0;
        for (int64_t i = 0; i < inputs; ++i) start -= row[i];
        start *= 128;
        __builtin_memcpy(to + r * 4, &scale, 4);
        __builtin_memcpy(to + (count + r) * 4, &start, 4);
        for (int64_t i = 0; i < inputs; i += 4) {
          __builtin_memcpy(codes + (i / 4 * count + r) * 4, row + i, 4);
        }
      }
      to = codes + inputs * count;
    }
  }
}

// One block: R rows times one segment of a panel.
struct QuantBlockArgs {
  const char* x;       // packed rows of the block, at the segment
  const char* codes;   // [inputs / 4][16][4] bytes
  const char* scales;  // [16] f16
  int64_t inputs;      // multiple of 32
  float* acc;          // [R][16]
  int first;           // 1: start from zero, 0: continue from acc
};

template <class Micro, int R>
void RunQuantBlock(int64_t rows, const QuantBlockArgs& args) {
  if constexpr (R > 0) {
    if (rows == R) {
      Micro::template Block<R>(args);
    } else {
      RunQuantBlock<Micro, R - 1>(rows, args);
    }
  }
}

// Row blocks that share one expansion of a segment.
constexpr int64_t kQuantSuperBlocks = 16;

// Micro: kMaxRows, Block<R>(const QuantBlockArgs&), and Expand(codes, half codes twice, to), which
// writes 64 inputs of 16 features as bytes [16][64] (int4 only).
template <class Micro, int kBits>
void RunQuantPanels(const PanelsArgs& a) {
  constexpr int kMaxRows = Micro::kMaxRows;
  const QuantLayout& layout = a.layout;
  const int64_t tile = Min(64, layout.segment);
  const int64_t blocks = NumBlocks(a.rows, kMaxRows);
  const int64_t row_bytes = a.padded_in + NumBlocks(a.padded_in, layout.segment) * kQuantHeader * 4;
  alignas(64) float acc[kQuantSuperBlocks * kMaxRows * 16];
  alignas(64) char expanded[64 * 16];
  alignas(64) char codes[kSegmentMax * 16];
  for (int64_t super = 0; super < blocks; super += kQuantSuperBlocks) {
    const int64_t super_end = Min(super + kQuantSuperBlocks, blocks);
    const int64_t first_row = super * a.rows / blocks, end_row = super_end * a.rows / blocks;
    for (int64_t panel = a.panel_begin; panel < a.panel_end; ++panel) {
      const char* base = static_cast<const char*>(a.weights) + panel * layout.panel_bytes;
      const char* header = base;
      for (int64_t k = 0; k < a.padded_in; k += layout.segment, header += layout.header_step) {
        const int64_t inputs = Min(layout.segment, a.padded_in - k);
        for (int64_t i = 0; i < inputs; i += tile) {
          const char* from = base + layout.codes + (k + i) * 16 * kBits / 8;
          if constexpr (kBits == 4) {
            Micro::Expand(from, HalfCodesOf(layout, header, i),
                          HalfCodesOf(layout, header, i + kHalf), expanded);
            from = expanded;
          }
          TransposeQuads(from, tile, tile / 4, codes + i * 16);
        }
        for (int64_t block = super; block < super_end; ++block) {
          const int64_t row = block * a.rows / blocks;
          const int64_t rows = (block + 1) * a.rows / blocks - row;
          const char* x = static_cast<const char*>(a.packed_x) + row * row_bytes +
                          rows * (k + k / layout.segment * kQuantHeader * 4);
          RunQuantBlock<Micro, kMaxRows>(rows, {.x = x,
                                                .codes = codes,
                                                .scales = header,
                                                .inputs = inputs,
                                                .acc = acc + (row - first_row) * 16,
                                                .first = k == 0});
        }
      }
      for (int64_t row = first_row; row < end_row; ++row) {
        StoreRow(a, row, panel, 1, acc + (row - first_row) * 16);
      }
    }
  }
}

template <class Micro, int kBits>
constexpr LinearKernel QuantKernel(const char* isa) {
  return {.isa = isa,
          .x_bytes = 1,
          .segment_bytes = kQuantHeader * 4,
          .row_multiple = 1,
          .max_block_rows = Micro::kMaxRows,
          .pack_rows = PackQuantRowBlocks<Micro::kMaxRows>,
          .panels = RunQuantPanels<Micro, kBits>};
}

}  // namespace
}  // namespace tessera::cpu
