// The AMX linear kernel for bf16, written against the tile intrinsics by name.
//
// Included once by amx/linear.cc, where the names are the compiler's intrinsics, and once by the
// test suite, where tile_emulation.h defines them; everything else here is plain C, so the same
// source runs on any machine. Internal linkage throughout, see linear_loops.h.
#pragma once

#include "tessera/backend/cpu/linear_loops.h"

namespace tessera::cpu {
namespace {

// What LDTILECFG reads (palette 1): Intel SDM vol. 1, 18.3.
struct TileConfig {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t bytes_per_row[16];
  uint8_t rows[16];
};

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileInputs = 32;  // bf16 per 64-byte tile row
constexpr int64_t kTileBytes = 1024;
constexpr int64_t kAmxBlockRows = 2 * kTileRows;  // rows of a 2 x 2 tile block
// Packed rows are [rows/16][in/32][16][32] bf16: tiles of 1 KiB, so no tile load has a stride that
// maps its 16 lines to one cache set, as rows 8 KiB apart would.

// Row blocks that share one pass over a weight chunk: 4 x 32 rows; 1,024 inputs of them are 256
// KiB.
constexpr int64_t kAmxSuperBlocks = 4;

inline void PackTileRows(const PackRowsArgs& a) {
  for (int64_t block = a.block_begin; block < a.block_end; ++block) {
    for (int64_t row = block * kTileRows; row < (block + 1) * kTileRows; ++row) {
      uint16_t* to = static_cast<uint16_t*>(a.packed) + block * kTileRows * a.padded_in +
                     (row - block * kTileRows) * kTileInputs;
      for (int64_t k = 0; k < a.padded_in; k += kTileInputs) {
        if (row < a.rows && k + kTileInputs <= a.in) {
          const float* from = a.x + row * a.x_stride + k;
          for (int64_t i = 0; i < kTileInputs; ++i) {
            to[i] = static_cast<uint16_t>(RoundToBf16(from[i]));
          }
        } else {
          for (int64_t i = 0; i < kTileInputs; ++i) {
            const bool inside = row < a.rows && k + i < a.in;
            to[i] = inside ? static_cast<uint16_t>(RoundToBf16(a.x[row * a.x_stride + k + i])) : 0;
          }
        }
        to += kTileRows * kTileInputs;
      }
    }
  }
}

// One pass of a 2 x 2 block of tiles (or 1 x 2, 2 x 1, 1 x 1) over one chunk of inputs.
// C tiles: 0..3 = row tile * 2 + panel; A (activations): 4, 5; B (weights): 6, 7.
template <int R, int P>
void TileBlock(const BlockArgs& a, int64_t row_tile_bytes) {
  constexpr int kC = 64;  // byte stride of an accumulator row
  if (a.first) {
    _tile_zero(0);
    if constexpr (P > 1) _tile_zero(1);
    if constexpr (R > 1) _tile_zero(2);
    if constexpr (R > 1 && P > 1) _tile_zero(3);
  } else {
    _tile_loadd(0, a.acc, kC);
    if constexpr (P > 1) _tile_loadd(1, a.acc + 256, kC);
    if constexpr (R > 1) _tile_loadd(2, a.acc + 512, kC);
    if constexpr (R > 1 && P > 1) _tile_loadd(3, a.acc + 768, kC);
  }
  const char* x = static_cast<const char*>(a.x);
  const char* w = a.w;
  for (int64_t k = 0; k < a.inputs; k += kTileInputs) {
    PrefetchRound(a, P, 2 * (k / kTileInputs));
    PrefetchRound(a, P, 2 * (k / kTileInputs) + 1);
    _tile_loadd(6, w, 64);
    _tile_loadd(4, x, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (P > 1) {
      _tile_loadd(7, w + a.panel_bytes, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (R > 1) {
      _tile_loadd(5, x + row_tile_bytes, 64);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (P > 1) _tile_dpbf16ps(3, 5, 7);
    }
    w += kTileBytes;
    x += kTileBytes;
  }
  _tile_stored(0, a.acc, kC);
  if constexpr (P > 1) _tile_stored(1, a.acc + 256, kC);
  if constexpr (R > 1) _tile_stored(2, a.acc + 512, kC);
  if constexpr (R > 1 && P > 1) _tile_stored(3, a.acc + 768, kC);
}

template <int P>
void TilePanelGroup(const PanelsArgs& a, int64_t panel, int64_t row_begin, int64_t row_end,
                    int has_next) {
  // [row block][row tile][panel][16][16]
  alignas(64) float acc[kAmxSuperBlocks * 4 * 256];
  const int64_t panel_bytes = a.padded_in * 32;
  const int64_t row_tile_bytes = a.padded_in * kTileRows * 2;
  const char* w = static_cast<const char*>(a.weights) + panel * panel_bytes;
  const int64_t num_blocks = NumBlocks(row_end - row_begin, kAmxBlockRows);

  for (int64_t k = 0; k < a.padded_in; k += kChunkInputs) {
    const int64_t inputs = Min(kChunkInputs, a.padded_in - k);
    const bool last = k + inputs >= a.padded_in;
    const char* next = !last ? w + (k + inputs) * 32 : has_next ? w + P * panel_bytes : nullptr;
    constexpr int64_t kRoundLines = kPrefetchInputs / 2;
    const int64_t lines = (kRoundLines + num_blocks - 1) / num_blocks;
    for (int64_t block = 0; block < num_blocks; ++block) {
      const int64_t row = row_begin + block * kAmxBlockRows;
      const int64_t done = block * lines * (inputs / kPrefetchInputs) * 64;
      const BlockArgs args = {.x = static_cast<const char*>(a.packed_x) +
                                   row / kTileRows * row_tile_bytes + k / kTileInputs * kTileBytes,
                              .w = w + k * 32,
                              .panel_bytes = panel_bytes,
                              .inputs = inputs,
                              .acc = acc + block * 4 * 256,
                              .first = k == 0,
                              .prefetch = next + (next == nullptr ? 0 : done),
                              .prefetch_lines = next == nullptr ? 0 : lines};
      if (row + kTileRows < row_end) {
        TileBlock<2, P>(args, row_tile_bytes);
      } else {
        TileBlock<1, P>(args, row_tile_bytes);
      }
    }
  }
  for (int64_t row = row_begin; row < row_end; ++row) {
    const int64_t local = row - row_begin;
    const float* tiles = acc + local / kAmxBlockRows * 4 * 256 +
                         local % kAmxBlockRows / kTileRows * 512 + local % kTileRows * 16;
    for (int p = 0; p < P; ++p) StoreRow(a, row, panel + p, 1, tiles + p * 256);
  }
}

inline void RunTilePanels(const PanelsArgs& a) {
  // Every tile is 16 rows x 64 bytes: rows beyond the last are zeros in the packed activations.
  TileConfig config = {};
  config.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = 64;
    config.rows[tile] = 16;
  }
  _tile_loadconfig(&config);
  constexpr int64_t kSuperRows = kAmxSuperBlocks * kAmxBlockRows;
  for (int64_t row = 0; row < a.rows; row += kSuperRows) {
    const int64_t row_end = Min(row + kSuperRows, a.rows);
    int64_t panel = a.panel_begin;
    for (; panel + 2 <= a.panel_end; panel += 2) {
      TilePanelGroup<2>(a, panel, row, row_end, panel + 4 <= a.panel_end);
    }
    if (panel < a.panel_end) TilePanelGroup<1>(a, panel, row, row_end, 0);
  }
  _tile_release();
}

}  // namespace
}  // namespace tessera::cpu
