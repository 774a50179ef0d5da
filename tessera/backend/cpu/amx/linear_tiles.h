// The AMX linear kernel for bf16 weights, over a small set of tile operations.
//
// `Tiles` supplies the operations: amx/linear.cc passes the instructions, the test suite a software
// model of them (tile_model.h), so the same source runs and is tested on every machine. Plain C
// otherwise. Internal linkage throughout, see linear_loops.h.
#pragma once

#include "tessera/backend/cpu/linear_loops.h"

namespace tessera::cpu {
namespace {

// What LDTILECFG reads (palette 1): Intel SDM vol. 1, section 18.3.
struct TileConfig {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t bytes_per_row[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

// A tile is 16 rows x 64 bytes. Packed rows are [rows/16][in/32][16][32] bf16, tiles of 1 KiB with
// zero rows after the last row: loads from row-major activations would touch 16 lines 2 * in bytes
// apart, which for in = 4096 all fall into one set of a 48 KiB L1.
constexpr int64_t kTileRows = 16;
constexpr int64_t kTileInputs = 32;
constexpr int64_t kTileBytes = 1024;
constexpr int64_t kTileFloats = 256;
constexpr int64_t kTileBlockRows = 2 * kTileRows;  // a block is 2 row tiles x 2 panels

struct TilePolicy {
  // Inputs between two visits to the accumulators when several row blocks share the weights: two
  // panels of a chunk are 64 KiB and stay in L2; loading and storing four accumulator tiles takes
  // 8 tile transfers against 32 steps of four tile products.
  static constexpr int64_t kChunkInputs = 1024;
  // Row blocks that share one pass over the weights; 1024 inputs of 4 x 32 rows are 256 KiB.
  static constexpr int64_t kSuperBlocks = 4;
  // With one row block the weights are only streamed: prefetch this many bytes ahead (0: leave it
  // to the hardware).
  static constexpr int64_t kAheadBytes = 4096;
};

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

// R x P tiles of outputs over one chunk of inputs. Accumulators: tile 2 * row tile + panel;
// activations: 4, 5; weights: 6, 7. Each product tile sums 32 inputs before it is added to the
// accumulator, so the order is the same whatever R, P and the chunk are.
template <class Tiles, int R, int P>
void TileBlock(const BlockArgs& a, int64_t row_tile_bytes) {
  constexpr int64_t kStride = 64;
  if (a.first) {
    Tiles::template Zero<0>();
    if constexpr (P > 1) Tiles::template Zero<1>();
    if constexpr (R > 1) Tiles::template Zero<2>();
    if constexpr (R > 1 && P > 1) Tiles::template Zero<3>();
  } else {
    Tiles::template Load<0>(a.acc, kStride);
    if constexpr (P > 1) Tiles::template Load<1>(a.acc + kTileFloats, kStride);
    if constexpr (R > 1) Tiles::template Load<2>(a.acc + 2 * kTileFloats, kStride);
    if constexpr (R > 1 && P > 1) Tiles::template Load<3>(a.acc + 3 * kTileFloats, kStride);
  }
  const char* x = static_cast<const char*>(a.x);
  const char* w = a.w;
  for (int64_t k = 0; k < a.inputs; k += kTileInputs) {
    PrefetchRound(a, P, k / kTileInputs);
    Tiles::template Load<6>(w, kStride);
    Tiles::template Load<4>(x, kStride);
    Tiles::template DotBf16<0, 4, 6>();
    if constexpr (P > 1) {
      Tiles::template Load<7>(w + a.panel_bytes, kStride);
      Tiles::template DotBf16<1, 4, 7>();
    }
    if constexpr (R > 1) {
      Tiles::template Load<5>(x + row_tile_bytes, kStride);
      Tiles::template DotBf16<2, 5, 6>();
      if constexpr (P > 1) Tiles::template DotBf16<3, 5, 7>();
    }
    w += kTileBytes;
    x += kTileBytes;
  }
  Tiles::template Store<0>(a.acc, kStride);
  if constexpr (P > 1) Tiles::template Store<1>(a.acc + kTileFloats, kStride);
  if constexpr (R > 1) Tiles::template Store<2>(a.acc + 2 * kTileFloats, kStride);
  if constexpr (R > 1 && P > 1) Tiles::template Store<3>(a.acc + 3 * kTileFloats, kStride);
}

template <class Tiles, class Policy, int P>
void TilePanelGroup(const PanelsArgs& a, int64_t panel, int64_t row_begin, int64_t row_end,
                    bool has_next) {
  alignas(64) float acc[Policy::kSuperBlocks * 4 * kTileFloats];  // [block][row tile][panel]
  const int64_t panel_bytes = a.padded_in * 32;
  const int64_t row_tile_bytes = a.padded_in * kTileRows * 2;
  const char* w = static_cast<const char*>(a.weights) + panel * panel_bytes;
  const int64_t blocks = NumBlocks(row_end - row_begin, kTileBlockRows);
  const int64_t chunk = blocks == 1 ? a.padded_in : Policy::kChunkInputs;

  for (int64_t k = 0; k < a.padded_in; k += chunk) {
    const int64_t inputs = Min(chunk, a.padded_in - k);
    const bool last = k + inputs >= a.padded_in;
    const char* from = w + k * 32;
    const char* next = blocks == 1
                           ? (Policy::kAheadBytes > 0 ? from + Policy::kAheadBytes : nullptr)
                       : !last    ? from + inputs * 32
                       : has_next ? w + P * panel_bytes
                                  : nullptr;
    const int64_t lines = (kTileRows + blocks - 1) / blocks;
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t row = row_begin + block * kTileBlockRows;
      const BlockArgs args = {.x = static_cast<const char*>(a.packed_x) +
                                   row / kTileRows * row_tile_bytes + k / kTileInputs * kTileBytes,
                              .w = from,
                              .panel_bytes = panel_bytes,
                              .inputs = inputs,
                              .acc = acc + block * 4 * kTileFloats,
                              .first = k == 0,
                              .prefetch = next == nullptr
                                              ? nullptr
                                              : next + block * lines * (inputs / kTileInputs) * 64,
                              .prefetch_lines = next == nullptr ? 0 : lines};
      if (row + kTileRows < row_end) {
        TileBlock<Tiles, 2, P>(args, row_tile_bytes);
      } else {
        TileBlock<Tiles, 1, P>(args, row_tile_bytes);
      }
    }
  }
  for (int64_t row = row_begin; row < row_end; ++row) {
    const int64_t local = row - row_begin;
    const float* tiles =
        acc + (local / kTileBlockRows * 4 + local % kTileBlockRows / kTileRows * 2) * kTileFloats +
        local % kTileRows * 16;
    for (int p = 0; p < P; ++p) StoreRow(a, row, panel + p, 1, tiles + p * kTileFloats);
  }
}

template <class Tiles, class Policy>
void RunTilePanels(const PanelsArgs& a) {
  TileConfig config = {};
  config.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = 64;
    config.rows[tile] = 16;
  }
  Tiles::Configure(config);
  constexpr int64_t kSuperRows = Policy::kSuperBlocks * kTileBlockRows;
  for (int64_t row = 0; row < a.rows; row += kSuperRows) {
    const int64_t row_end = Min(row + kSuperRows, a.rows);
    int64_t panel = a.panel_begin;
    for (; panel + 2 <= a.panel_end; panel += 2) {
      TilePanelGroup<Tiles, Policy, 2>(a, panel, row, row_end, panel + 4 <= a.panel_end);
    }
    if (panel < a.panel_end) TilePanelGroup<Tiles, Policy, 1>(a, panel, row, row_end, false);
  }
  Tiles::Release();
}

template <class Tiles, class Policy = TilePolicy>
constexpr LinearKernel TileKernel(const char* isa) {
  return {.isa = isa,
          .x_bytes = 2,
          .row_multiple = kTileRows,
          .max_block_rows = kTileRows,
          .pack_rows = PackTileRows,
          .panels = RunTilePanels<Tiles, Policy>};
}

}  // namespace
}  // namespace tessera::cpu
