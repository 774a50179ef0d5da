// The AMX linear kernels for int8 and int4 weights, over a small set of tile operations.
//
// Weights and activations are multiplied as signed bytes; the integer tiles of a segment are scaled
// and added to f32 sums in vector registers, in the order and with the operations of quant_loops.h,
// so the results equal those kernels bit for bit. `Tiles` supplies the operations, see
// linear_tiles.h: instructions, or a software model of them.
#pragma once

#include "tessera/backend/cpu/amx/linear_tiles.h"
#include "tessera/backend/cpu/quant_loops.h"

namespace tessera::cpu {
namespace {

// Packed rows are [rows / 16][segments], each a header of 16 scales and 16 scaled code sums and
// then [segment / 64] tiles of [16 rows][64] codes (one of [16][32] for segments of 32).
constexpr int64_t kQuantTileHeader = 2 * kTileRows * 4;

// Inputs whose integer tiles wait in L1 to be scaled, 256: 4 segments of 64 with 2 row tiles are
// 8 KiB, and as many again belong to the chunk before.
constexpr int64_t kQuantTileChunk = 256;
constexpr int64_t kMaxChunkSegments = kQuantTileChunk / 32;

// Row blocks of 32 that share the unpacked weights of a chunk.
constexpr int64_t kQuantTileSuperBlocks = 8;

inline int64_t QuantRowTileBytes(int64_t padded_in, int64_t segment) {
  return padded_in / segment * (kQuantTileHeader + kTileRows * segment);
}

inline void PackQuantTileRows(const PackRowsArgs& a) {
  const int64_t segments = a.padded_in / a.segment;
  const int64_t width = a.segment < 64 ? a.segment : 64;  // of a tile
  for (int64_t block = a.block_begin; block < a.block_end; ++block) {
    char* to = static_cast<char*>(a.packed) + block * QuantRowTileBytes(a.padded_in, a.segment);
    for (int64_t s = 0; s < segments; ++s) {
      const int64_t k = s * a.segment;
      const int64_t valid = a.in - k < 0 ? 0 : Min(a.in - k, a.segment);
      float* scales = reinterpret_cast<float*>(to);
      float* sums = scales + kTileRows;
      char* tiles = to + kQuantTileHeader;
      for (int64_t r = 0; r < kTileRows; ++r) {
        const int64_t row = block * kTileRows + r;
        int8_t codes[128] = {};
        float scale = 0;
        if (row < a.rows) {
          scale = QuantizeSegment(a.x + row * a.x_stride + k, valid, codes);
        }
        int32_t sum = 0;
        for (int64_t i = 0; i < a.segment; ++i) sum += codes[i];
        scales[r] = scale * a.scale_unit;
        sums[r] = (scale * a.min_unit) * static_cast<float>(sum);
        for (int64_t i = 0; i < a.segment; i += width) {
          char* line = tiles + i * kTileRows + r * width;
          for (int64_t j = 0; j < width; ++j) line[j] = static_cast<char>(codes[i + j]);
        }
      }
      to = tiles + kTileRows * a.segment;
    }
  }
}

// Integer tiles [segments][row tile] of one row tile, to be added to its sums [16 rows][16].
struct ScaleTileArgs {
  const int32_t* tiles;  // of the first segment
  int64_t tile_step;     // elements from segment to segment
  const char* header;    // of the packed rows' first segment
  int64_t header_step;
  const char* scales;
  const char* mins;  // null: none
  int64_t scale_step;
  int64_t segments;
  float* acc;
  int first;
};

// The tiles of one chunk and one row block, waiting to be scaled.
struct PendingTiles {
  ScaleTileArgs args;  // of row tile 0
  int64_t row_tile_bytes;
  int row_tiles;  // 0: nothing is waiting
};

template <class Tiles>
void ScaleRowTile(const PendingTiles& pending, int tile) {
  ScaleTileArgs args = pending.args;
  args.tiles += tile * kTileFloats;
  args.header += tile * pending.row_tile_bytes;
  args.acc += tile * kTileFloats;
  Tiles::ScaleTiles(args);
}

// Integer products of one segment for R row tiles, into tiles 2 * kPair and up.
template <class Tiles, int R, int kPair>
void SegmentTiles(const char* x, int64_t row_tile_bytes, const char* w, int64_t segment,
                  int32_t* out) {
  constexpr int kSum = 2 * kPair;
  const int64_t x_stride = segment < 64 ? segment : 64;
  Tiles::template Zero<kSum>();
  if constexpr (R > 1) Tiles::template Zero<kSum + 1>();
  for (int64_t k = 0; k < segment; k += 64) {
    Tiles::template Load<6>(w, 64);
    Tiles::template Load<4>(x, x_stride);
    Tiles::template DotInt8<kSum, 4, 6>();
    if constexpr (R > 1) {
      Tiles::template Load<5>(x + row_tile_bytes, x_stride);
      Tiles::template DotInt8<kSum + 1, 5, 6>();
    }
    w += kTileBytes;
    x += kTileBytes;
  }
  Tiles::template Store<kSum>(out, 64);
  if constexpr (R > 1) Tiles::template Store<kSum + 1>(out + kTileFloats, 64);
}

// A chunk for one row block: its integer tiles, while the tiles of the chunk before are scaled
// between them (they use other units of the core).
template <class Tiles, int R>
void ChunkTiles(const char* x, int64_t row_tile_bytes, int64_t header_step, const char* w,
                int64_t segment, int64_t segments, int32_t* out, const PendingTiles& pending) {
  int next = 0;
  for (int64_t s = 0; s < segments; ++s) {
    const char* rows = x + s * header_step + kQuantTileHeader;
    const char* weights = w + s * segment * 16;
    int32_t* tiles = out + s * R * kTileFloats;
    if (s % 2 == 0) {
      SegmentTiles<Tiles, R, 0>(rows, row_tile_bytes, weights, segment, tiles);
    } else {
      SegmentTiles<Tiles, R, 1>(rows, row_tile_bytes, weights, segment, tiles);
    }
    if (next < pending.row_tiles) ScaleRowTile<Tiles>(pending, next++);
  }
  while (next < pending.row_tiles) ScaleRowTile<Tiles>(pending, next++);
}

template <class Tiles, int kBits>
void RunQuantTilePanels(const PanelsArgs& a) {
  const QuantLayout& layout = a.layout;
  TileConfig config = {};
  config.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = 64;
    config.rows[tile] = 16;
  }
  if (layout.segment < 64) {  // activations [16][32], weights [8][16][4]
    config.bytes_per_row[4] = config.bytes_per_row[5] = 32;
    config.rows[6] = 8;
  }
  Tiles::Configure(config);
  constexpr int64_t kSuperRows = kQuantTileSuperBlocks * kTileBlockRows;
  alignas(64) float acc[kSuperRows * 16];
  alignas(64) int32_t tiles[2][kMaxChunkSegments * 2 * kTileFloats];
  alignas(64) char unpacked[kQuantTileChunk * 16];
  const int64_t header_step = kQuantTileHeader + kTileRows * layout.segment;
  const int64_t row_tile_bytes = QuantRowTileBytes(a.padded_in, layout.segment);
  int side = 0;

  for (int64_t row_begin = 0; row_begin < a.rows; row_begin += kSuperRows) {
    const int64_t row_end = Min(row_begin + kSuperRows, a.rows);
    for (int64_t panel = a.panel_begin; panel < a.panel_end; ++panel) {
      const char* base = static_cast<const char*>(a.weights) + panel * layout.panel_bytes;
      PendingTiles pending = {};
      for (int64_t k = 0; k < a.padded_in; k += kQuantTileChunk) {
        const int64_t inputs = Min(kQuantTileChunk, a.padded_in - k);
        const int64_t segment = k / layout.segment;
        const char* w = base + layout.codes + CodeBytes(k, kBits);
        if constexpr (kBits == 4) {
          Tiles::UnpackInt4(w, inputs, unpacked);
          w = unpacked;
        } else {
          Tiles::PrefetchInt8(w, inputs);
        }
        for (int64_t row = row_begin; row < row_end; row += kTileBlockRows) {
          const char* x = static_cast<const char*>(a.packed_x) + row / kTileRows * row_tile_bytes +
                          segment * header_step;
          const int row_tiles = row + kTileRows < row_end ? 2 : 1;
          const int64_t segments = inputs / layout.segment;
          if (row_tiles == 2) {
            ChunkTiles<Tiles, 2>(x, row_tile_bytes, header_step, w, layout.segment, segments,
                                 tiles[side], pending);
          } else {
            ChunkTiles<Tiles, 1>(x, row_tile_bytes, header_step, w, layout.segment, segments,
                                 tiles[side], pending);
          }
          pending = {
              .args = {.tiles = tiles[side],
                       .tile_step = row_tiles * kTileFloats,
                       .header = x,
                       .header_step = header_step,
                       .scales = base + segment * layout.scale_step,
                       .mins = layout.mins == 0 ? nullptr
                                                : base + layout.mins + segment * layout.scale_step,
                       .scale_step = layout.scale_step,
                       .segments = segments,
                       .acc = acc + (row - row_begin) * 16,
                       .first = k == 0},
              .row_tile_bytes = row_tile_bytes,
              .row_tiles = row_tiles};
          side = 1 - side;
        }
      }
      for (int tile = 0; tile < pending.row_tiles; ++tile) ScaleRowTile<Tiles>(pending, tile);
      for (int64_t row = row_begin; row < row_end; ++row) {
        StoreRow(a, row, panel, 1, acc + (row - row_begin) * 16);
      }
    }
  }
  Tiles::Release();
}

template <class Tiles, int kBits>
constexpr LinearKernel QuantTileKernel(const char* isa) {
  return {.isa = isa,
          .x_bytes = 1,
          .segment_bytes = kQuantTileHeader / kTileRows,
          .row_multiple = kTileRows,
          .max_block_rows = kTileRows,
          .pack_rows = PackQuantTileRows,
          .panels = RunQuantTilePanels<Tiles, kBits>};
}

}  // namespace
}  // namespace tessera::cpu
