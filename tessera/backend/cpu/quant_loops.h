// The loop nest shared by the integer linear kernels of the vector levels, and the quantisation of
// activations for all of them.
//
// Like linear_loops.h: included only by the files of the instruction-set folders, internal linkage
// throughout, plain C loops over raw pointers. linear_kernels.h has the formula.
#pragma once

#include "tessera/backend/cpu/linear_loops.h"

namespace tessera::cpu {
namespace {

// The layout of codes in a panel, in halves of 32 inputs, 8 lines of 16 features x 4 inputs:
//   int8  [padded_in / 32][8][16][4]
//   int4  [padded_in / 64][8][16][4] bytes: the low four bits hold the input of the even half, the
//         high four that of the odd one, as two's complement.
// An int4 code is used as 16 * q, which saves its sign extension; scale_unit makes up for it.
constexpr int64_t kHalf = 32;
constexpr int64_t kHalfLines = 8;

// Row blocks that share one pass over a chunk of the weights, and the inputs of a chunk: 8 KiB of
// int8 codes stay in L1 next to the activations of a block.
constexpr int64_t kQuantSuperBlocks = 8;
constexpr int64_t kQuantChunkInputs = 512;

inline int64_t CodeBytes(int64_t inputs, int bits) { return inputs * 16 * bits / 8; }

// Values of one row and segment as signed bytes in [-127, 127]: x ~ code * the returned scale.
// A value that is NaN or infinite makes the scale NaN, and with it every output of the row.
inline float QuantizeSegment(const float* x, int64_t count, int8_t* codes) {
  uint32_t largest = 0;  // of the magnitudes' bits: orders like the values, NaN and infinity last
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = BitsOf(x[i]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  if (largest >= 0x7f800000 || largest < 0x00800000) {  // not finite, or nothing but denormals
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

// Per segment of a block of R rows: R scales (times scale_unit), R start values of the integer sums
// (-128 * sum of codes, for kernels that use weights as q + 128), R scaled sums of the codes (times
// min_unit), then codes [segment / 4][R][4].
constexpr int64_t kQuantHeader = 3;  // 32-bit words per row
template <int kMaxRows>
void PackQuantRowBlocks(const PackRowsArgs& a) {
  const int64_t blocks = NumBlocks(a.rows, kMaxRows);
  const int64_t segments = a.padded_in / a.segment;
  const int64_t row_bytes = a.padded_in + segments * kQuantHeader * 4;
  for (int64_t block = a.block_begin; block < a.block_end; ++block) {
    const int64_t row_begin = block * a.rows / blocks;
    const int64_t count = (block + 1) * a.rows / blocks - row_begin;
    char* to = static_cast<char*>(a.packed) + row_begin * row_bytes;
    for (int64_t s = 0; s < segments; ++s) {
      const int64_t k = s * a.segment;
      const int64_t valid = a.in - k < 0 ? 0 : Min(a.in - k, a.segment);
      char* codes = to + kQuantHeader * count * 4;
      for (int64_t r = 0; r < count; ++r) {
        int8_t row[128] = {};
        const float* x = a.x + (row_begin + r) * a.x_stride + k;
        const float scale = QuantizeSegment(x, valid, row);
        int32_t sum = 0;
        for (int64_t i = 0; i < a.segment; ++i) sum += row[i];
        const float scaled = scale * a.scale_unit;
        const int32_t start = -128 * sum;
        const float scaled_sum = (scale * a.min_unit) * static_cast<float>(sum);
        __builtin_memcpy(to + r * 4, &scaled, 4);
        __builtin_memcpy(to + (count + r) * 4, &start, 4);
        __builtin_memcpy(to + (2 * count + r) * 4, &scaled_sum, 4);
        for (int64_t i = 0; i < a.segment; i += 4) {
          __builtin_memcpy(codes + (i / 4 * count + r) * 4, row + i, 4);
        }
      }
      to = codes + a.segment * count;
    }
  }
}

// One block: R rows times one panel over some segments.
struct QuantBlockArgs {
  const char* x;       // packed rows of the block, at the first segment
  const char* codes;   // of the first segment; for int4 the first segment may be an odd half
  int64_t half;        // index of the first half in the panel, for int4
  const char* scales;  // [16] f16 of the first segment
  int64_t scale_step;
  const char* mins;  // [16] f16 of the first segment, or null
  int64_t segment;
  int64_t segments;
  float* acc;  // [R][16]
  int first;   // 1: start from zero, 0: continue from acc
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

// Micro: kBits, kMaxRows and Block<R>(const QuantBlockArgs&).
template <class Micro>
void RunQuantPanels(const PanelsArgs& a) {
  constexpr int kMaxRows = Micro::kMaxRows;
  const QuantLayout& layout = a.layout;
  const int64_t blocks = NumBlocks(a.rows, kMaxRows);
  const int64_t row_bytes = a.padded_in + a.padded_in / layout.segment * kQuantHeader * 4;
  alignas(64) float acc[kQuantSuperBlocks * kMaxRows * 16];
  for (int64_t super = 0; super < blocks; super += kQuantSuperBlocks) {
    const int64_t super_end = Min(super + kQuantSuperBlocks, blocks);
    const int64_t first_row = super * a.rows / blocks, end_row = super_end * a.rows / blocks;
    const int64_t chunk = super_end - super == 1 ? a.padded_in : kQuantChunkInputs;
    for (int64_t panel = a.panel_begin; panel < a.panel_end; ++panel) {
      const char* base = static_cast<const char*>(a.weights) + panel * layout.panel_bytes;
      for (int64_t k = 0; k < a.padded_in; k += chunk) {
        const int64_t segment = k / layout.segment;
        QuantBlockArgs args = {
            .x = nullptr,
            .codes = base + layout.codes + CodeBytes(k, Micro::kBits),
            .half = k / kHalf,
            .scales = base + segment * layout.scale_step,
            .scale_step = layout.scale_step,
            .mins = layout.mins == 0 ? nullptr : base + layout.mins + segment * layout.scale_step,
            .segment = layout.segment,
            .segments = Min(chunk, a.padded_in - k) / layout.segment,
            .acc = nullptr,
            .first = k == 0};
        for (int64_t block = super; block < super_end; ++block) {
          const int64_t row = block * a.rows / blocks;
          const int64_t rows = (block + 1) * a.rows / blocks - row;
          args.x = static_cast<const char*>(a.packed_x) + row * row_bytes +
                   segment * rows * (layout.segment + kQuantHeader * 4);
          args.acc = acc + (row - first_row) * 16;
          RunQuantBlock<Micro, kMaxRows>(rows, args);
        }
      }
      for (int64_t row = first_row; row < end_row; ++row) {
        StoreRow(a, row, panel, 1, acc + (row - first_row) * 16);
      }
    }
  }
}

template <class Micro>
constexpr LinearKernel QuantKernel(const char* isa) {
  return {.isa = isa,
          .x_bytes = 1,
          .segment_bytes = kQuantHeader * 4,
          .row_multiple = 1,
          .max_block_rows = Micro::kMaxRows,
          .pack_rows = PackQuantRowBlocks<Micro::kMaxRows>,
          .panels = RunQuantPanels<Micro>};
}

}  // namespace
}  // namespace tessera::cpu
