// The loop nest shared by the vector linear kernels: everything but the innermost block.
//
// Included only by the files of the instruction-set folders, once each: all of it has internal
// linkage (the anonymous namespace is deliberate), so that code built with instruction-set flags
// can never replace a baseline function at link time. Plain C loops over raw pointers.
#pragma once

#include "tessera/backend/cpu/linear_kernels.h"

namespace tessera::cpu {
namespace {

// Bytes of one panel handled between two visits to the accumulators when several row blocks share
// it: 256 inputs of bf16, 128 of f32. Two panels then stay in L1 with the activations of a block
// (6 KiB), and loading and storing the accumulators is one part in 60 of the work. Zen4, bf16, 32
// rows: 384 inputs are within noise of 256, 128 are 2 % slower, 512 3 %, 1024 4 %.
constexpr int64_t kChunkBytes = 8192;

// Inputs between two rounds of software prefetch; divides kInputPad. Kernels must not let the
// compiler unroll the loop over these inputs: GCC then moves the load of the eighth line before the
// first, and the hardware prefetchers lose the stream (Zen4, 1 row: 50 instead of 60 GB/s).
constexpr int64_t kPrefetchInputs = 16;

// One block: R rows times P panels over some inputs.
struct BlockArgs {
  const void* x;           // packed rows of the block, at the first input
  const char* w;           // panel 0, at the first input
  int64_t panel_bytes;     // from panel to panel
  int64_t inputs;          // multiple of 32
  float* acc;              // [R][P][16]
  int first;               // 1: start from zero, 0: continue from acc
  const char* prefetch;    // where the next chunk of panel 0 goes on; null: none
  int64_t prefetch_lines;  // per panel and round
};

inline uint32_t BitsOf(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

inline float FloatOf(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

// Round to nearest even; NaN stays NaN. Same as BF16FromFloat, which is a weak symbol.
inline uint32_t RoundToBf16(float value) {
  const uint32_t bits = BitsOf(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40;
  return (bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded;
}

inline int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }

inline void PrefetchRound(const BlockArgs& a, int panels, int64_t round) {
  const char* line = a.prefetch + round * a.prefetch_lines * 64;
  for (int64_t i = 0; i < a.prefetch_lines; ++i) {
    for (int p = 0; p < panels; ++p) __builtin_prefetch(line + p * a.panel_bytes, 0, 3);
    line += 64;
  }
}

// Packed layouts of one block of R rows:
//   kF32       [padded_in][R] f32
//   kF32ofBf16 the same, rounded to bf16
//   kBf16Pairs [padded_in / 2][R][2] bf16
enum class XLayout { kF32, kF32ofBf16, kBf16Pairs };

template <XLayout kLayout, int kMaxRows>
void PackRowBlocks(const PackRowsArgs& a) {
  constexpr int64_t kStep = 32;
  const int64_t blocks = NumBlocks(a.rows, kMaxRows);
  for (int64_t block = a.block_begin; block < a.block_end; ++block) {
    const int64_t row_begin = block * a.rows / blocks;
    const int64_t count = (block + 1) * a.rows / blocks - row_begin;
    // 32-bit units: one f32, or one pair of bf16.
    uint32_t* to = static_cast<uint32_t*>(a.packed) +
                   row_begin * (kLayout == XLayout::kBf16Pairs ? a.padded_in / 2 : a.padded_in);
    for (int64_t k = 0; k < a.padded_in; k += kStep) {
      constexpr int64_t kUnits = kLayout == XLayout::kBf16Pairs ? kStep / 2 : kStep;
      uint32_t tile[kMaxRows][kUnits];
      for (int64_t r = 0; r < count; ++r) {
        const float* from = a.x + (row_begin + r) * a.x_stride + k;
        float values[kStep];
        if (k + kStep <= a.in) {
          __builtin_memcpy(values, from, sizeof(values));
        } else {
          for (int64_t i = 0; i < kStep; ++i) values[i] = k + i < a.in ? from[i] : 0.0f;
        }
        for (int64_t i = 0; i < kUnits; ++i) {
          if constexpr (kLayout == XLayout::kF32) {
            tile[r][i] = BitsOf(values[i]);
          } else if constexpr (kLayout == XLayout::kF32ofBf16) {
            tile[r][i] = RoundToBf16(values[i]) << 16;
          } else {
            tile[r][i] = RoundToBf16(values[2 * i]) | RoundToBf16(values[2 * i + 1]) << 16;
          }
        }
      }
      for (int64_t i = 0; i < kUnits; ++i) {
        for (int64_t r = 0; r < count; ++r) *to++ = tile[r][i];
      }
    }
  }
}

// y[0, count) = (accumulate ? y : 0) + (acc + bias); a count known when compiling is one register.
inline void StoreFeatures(float* __restrict y, const float* __restrict acc,
                          const float* __restrict bias, int accumulate, int64_t count) {
  if (bias != nullptr && accumulate) {
    for (int64_t i = 0; i < count; ++i) y[i] = y[i] + (acc[i] + bias[i]);
  } else if (bias != nullptr) {
    for (int64_t i = 0; i < count; ++i) y[i] = acc[i] + bias[i];
  } else if (accumulate) {
    for (int64_t i = 0; i < count; ++i) y[i] = y[i] + acc[i];
  } else {
    for (int64_t i = 0; i < count; ++i) y[i] = acc[i];
  }
}

// acc [panels][16] of one row -> y.
inline void StoreRow(const PanelsArgs& a, int64_t row, int64_t panel, int64_t panels,
                     const float* acc) {
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t feature = (panel + p) * 16;
    float* y = a.y + row * a.y_stride + feature - a.panel_begin * 16;
    const float* bias = a.bias == nullptr ? nullptr : a.bias + feature;
    if (feature + 16 <= a.out) {
      StoreFeatures(y, acc + p * 16, bias, a.accumulate, 16);
    } else {
      StoreFeatures(y, acc + p * 16, bias, a.accumulate, a.out - feature);
    }
  }
}

template <class Micro, int P, int R>
void RunBlock(int64_t rows, const BlockArgs& args) {
  if constexpr (R > 0) {
    if (rows == R) {
      Micro::template Block<R, P>(args);
    } else {
      RunBlock<Micro, P, R - 1>(rows, args);
    }
  }
}

// Micro: kSuperBlocks (row blocks that share one pass over the weights), kMaxRows, kMaxPanels,
// kXBytes, kWBytes (of one packed activation and weight), and Block<R, P>(const BlockArgs&).
template <class Micro, int P>
void RunPanelGroup(const PanelsArgs& a, int64_t panel, int64_t block_begin, int64_t block_end,
                   bool has_next) {
  constexpr int kMaxRows = Micro::kMaxRows;
  alignas(64) float acc[Micro::kSuperBlocks * kMaxRows * P * 16];
  const int64_t blocks = NumBlocks(a.rows, kMaxRows);
  const int64_t panel_bytes = a.padded_in * 16 * Micro::kWBytes;
  const int64_t first_row = block_begin * a.rows / blocks;
  const char* w = static_cast<const char*>(a.weights) + panel * panel_bytes;

  const int64_t num_blocks = block_end - block_begin;
  const int64_t chunk = num_blocks == 1 ? a.padded_in : kChunkBytes / (16 * Micro::kWBytes);

  for (int64_t k = 0; k < a.padded_in; k += chunk) {
    const int64_t inputs = Min(chunk, a.padded_in - k);
    // While this chunk is used, the next one is fetched, an equal share during each block. The last
    // chunk of a group is followed by the first chunk of the panels after it. With one block the
    // weights are streamed at the pace of memory, which the hardware prefetchers do better alone
    // (Zen4, 1 row: 29.6 GB/s without software prefetch, at most 25 with any distance and level).
    const bool last = k + inputs >= a.padded_in;
    const char* next = num_blocks == 1 ? nullptr
                       : !last         ? w + (k + inputs) * 16 * Micro::kWBytes
                       : has_next      ? w + P * panel_bytes
                                       : nullptr;
    constexpr int64_t kRoundLines = kPrefetchInputs * 16 * Micro::kWBytes / 64;
    const int64_t lines = (kRoundLines + num_blocks - 1) / num_blocks;
    for (int64_t block = block_begin; block < block_end; ++block) {
      const int64_t row_begin = block * a.rows / blocks;
      const int64_t rows = (block + 1) * a.rows / blocks - row_begin;
      const int64_t done = (block - block_begin) * lines * (inputs / kPrefetchInputs) * 64;
      const char* x = static_cast<const char*>(a.packed_x) +
                      (row_begin * a.padded_in + k * rows) * Micro::kXBytes;
      RunBlock<Micro, P, kMaxRows>(rows, {.x = x,
                                          .w = w + k * 16 * Micro::kWBytes,
                                          .panel_bytes = panel_bytes,
                                          .inputs = inputs,
                                          .acc = acc + (row_begin - first_row) * P * 16,
                                          .first = k == 0,
                                          .prefetch = next + (next == nullptr ? 0 : done),
                                          .prefetch_lines = next == nullptr ? 0 : lines});
    }
  }
  const int64_t end_row = block_end * a.rows / blocks;
  for (int64_t row = first_row; row < end_row; ++row) {
    StoreRow(a, row, panel, P, acc + (row - first_row) * P * 16);
  }
}

template <class Micro>
void RunPanels(const PanelsArgs& a) {
  const int64_t blocks = NumBlocks(a.rows, Micro::kMaxRows);
  for (int64_t block = 0; block < blocks; block += Micro::kSuperBlocks) {
    const int64_t block_end = Min(block + Micro::kSuperBlocks, blocks);
    int64_t panel = a.panel_begin;
    for (; panel + Micro::kMaxPanels <= a.panel_end; panel += Micro::kMaxPanels) {
      const bool has_next = panel + 2 * Micro::kMaxPanels <= a.panel_end;
      RunPanelGroup<Micro, Micro::kMaxPanels>(a, panel, block, block_end, has_next);
    }
    for (; panel < a.panel_end; ++panel) RunPanelGroup<Micro, 1>(a, panel, block, block_end, false);
  }
}

}  // namespace
}  // namespace tessera::cpu
