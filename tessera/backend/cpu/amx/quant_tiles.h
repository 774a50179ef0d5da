// The AMX linear kernels for int8 and int4 weights, over a small set of tile operations.
//
// 16 features of a panel are the rows of operand A, 16 activation rows the columns of operand B;
// the integer tiles of a segment are scaled and added to f32 sums in vector registers, by the
// operations of quant_loops.h, so the results equal those kernels bit for bit. Four-bit codes are
// expanded to tiles of bytes first. `Tiles` supplies the operations, see linear_tiles.h:
// instructions, or a software model of them.
#pragma once

#include "tessera/backend/cpu/amx/linear_tiles.h"
#include "tessera/backend/cpu/quant_loops.h"

namespace tessera::cpu {
namespace {

// Packed rows are [rows / 16][segments], each 16 scales and then codes [inputs / 4][16 rows][4]:
// tiles of the B operand, 1 KiB for 64 inputs.
constexpr int64_t kQuantTileHeader = kTileRows * 4;

// Row blocks of 32 that share the expanded weights of a segment; their sums (4 KiB each) stay in
// L2.
constexpr int64_t kQuantTileSuperBlocks = 8;

inline int64_t QuantRowTileBytes(int64_t padded_in, int64_t segment) {
  return NumBlocks(padded_in, segment) * kQuantTileHeader + kTileRows * padded_in;
}

inline void PackQuantTileRows(const PackRowsArgs& a) {
  for (int64_t block = a.block_begin; block < a.block_end; ++block) {
    char* to = static_cast<char*>(a.packed) + block * QuantRowTileBytes(a.padded_in, a.segment);
    for (int64_t k = 0; k < a.padded_in; k += a.segment) {
      const int64_t inputs = Min(a.segment, a.padded_in - k);
      const int64_t valid = a.in - k < 0 ? 0 : Min(a.in - k, inputs);
      alignas(64) int8_t codes[kTileRows][kSegmentMax] = {};
      float* scales = reinterpret_cast<float*>(to);
      for (int64_t r = 0; r < kTileRows; ++r) {
        const int64_t row = block * kTileRows + r;
        scales[r] = row >= a.rows ? 0.0f
                                  : QuantizeSegment(a.x + row * a.x_stride + k, valid, codes[r]) *
                                        kStoredScaleUnit;
      }
      to += kQuantTileHeader;
      TransposeQuads(reinterpret_cast<const char*>(codes), kSegmentMax, inputs / 4, to);
      to += kTileRows * inputs;
    }
  }
}

// Integer tile [16 features][16 rows] of one segment, to be added to sums of that shape.
struct ScaleTileArgs {
  const int32_t* tile;
  const float* x_scales;  // [16 rows]
  const float* scales;    // [16 features]
  float* acc;
  int first;
};

// The integer tiles of a segment: P panels times R row tiles, accumulators 2 * panel + row tile.
// side(k) is called between the products of 64 inputs: they take a unit of the core that nothing
// else uses, and 52 cycles each, so other work is done in their shadow; finish() before `out` is
// written.
template <class Tiles, int P, int R, class Side, class Finish>
void SegmentTiles(const char* const (&w)[2], const char* x, int64_t row_tile_bytes, int64_t inputs,
                  int64_t tile_inputs, int32_t* out, const Side& side, const Finish& finish) {
  Tiles::template Zero<0>();
  if constexpr (R > 1) Tiles::template Zero<1>();
  if constexpr (P > 1) Tiles::template Zero<2>();
  if constexpr (P > 1 && R > 1) Tiles::template Zero<3>();
  for (int64_t k = 0; k < inputs; k += tile_inputs) {
    Tiles::template Load<4>(w[0] + k * 16, tile_inputs);
    Tiles::template Load<6>(x + k * 16, 64);
    Tiles::template DotInt8<0, 4, 6>();
    if constexpr (R > 1) {
      Tiles::template Load<7>(x + row_tile_bytes + k * 16, 64);
      Tiles::template DotInt8<1, 4, 7>();
    }
    if constexpr (P > 1) {
      Tiles::template Load<5>(w[1] + k * 16, tile_inputs);
      Tiles::template DotInt8<2, 5, 6>();
      if constexpr (R > 1) Tiles::template DotInt8<3, 5, 7>();
    }
    side(k);
  }
  finish();
  Tiles::template Store<0>(out, 64);
  if constexpr (R > 1) Tiles::template Store<1>(out + kTileFloats, 64);
  if constexpr (P > 1) Tiles::template Store<2>(out + 2 * kTileFloats, 64);
  if constexpr (P > 1 && R > 1) Tiles::template Store<3>(out + 3 * kTileFloats, 64);
}

// [16 features][16 rows] -> y.
inline void StoreTile(const PanelsArgs& a, int64_t row, int64_t rows, int64_t panel,
                      const float* acc) {
  alignas(64) float by_row[kTileFloats];
  TransposeQuads(reinterpret_cast<const char*>(acc), 64, 16, reinterpret_cast<char*>(by_row));
  for (int64_t r = 0; r < rows; ++r) StoreRow(a, row + r, panel, 1, by_row + r * 16);
}

// The integer tiles of one segment and row block that wait to be scaled.
struct PendingTiles {
  const int32_t* tiles;
  const char* x;        // packed rows at the segment, row tile 0
  const float* scales;  // [panel][16 features]
  float* sums;
  int first;
  int row_tiles;
  int count;  // 0: nothing waits
};

// P panels for the rows [row_begin, row_end), at most a super block.
template <class Tiles, int kBits, int P>
class QuantTilePanels {
 public:
  QuantTilePanels(const PanelsArgs& args, int64_t panel, int64_t row_begin, int64_t row_end)
      : a_(args),
        layout_(args.layout),
        panel_(panel),
        row_begin_(row_begin),
        row_end_(row_end),
        tile_inputs_(Min(64, args.layout.segment)),
        row_tile_bytes_(QuantRowTileBytes(args.padded_in, args.layout.segment)),
        base_(static_cast<const char*>(args.weights) + panel * args.layout.panel_bytes),
        x_(static_cast<const char*>(args.packed_x) + row_begin / kTileRows * row_tile_bytes_) {}

  void Run() {
    const char* header = base_;
    Expand(header, 0, 0);
    for (int64_t k = 0; k < a_.padded_in; k += layout_.segment) {
      RunSegment(header, k);
      header += layout_.header_step;
    }
    ScaleRest();
    for (int64_t row = row_begin_; row < row_end_; row += kTileRows) {
      for (int p = 0; p < P; ++p) {
        StoreTile(
            a_, row, Min(kTileRows, row_end_ - row), panel_ + p,
            SumsOf(row) + (2 * p + (row - row_begin_) % kTileBlockRows / kTileRows) * kTileFloats);
      }
    }
  }

 private:
  static constexpr int64_t kSuperTiles = kQuantTileSuperBlocks * 4;

  static int64_t Bytes(int64_t inputs) { return inputs * 16 * kBits / 8; }

  // Sums [panel][row tile][16][16] of the row block that holds `row`.
  float* SumsOf(int64_t row) {
    return sums_ + (row - row_begin_) / kTileBlockRows * 4 * kTileFloats;
  }

  void RunSegment(const char* header, int64_t k) {
    const int64_t inputs = Min(layout_.segment, a_.padded_in - k);
    const char* w[2] = {};
    float* scales = scales_[use_];  // the pending tiles use the other one
    for (int p = 0; p < P; ++p) {
      Tiles::ReadScales(header + p * layout_.panel_bytes, scales + p * 16);
      w[p] = kBits == 4 ? expanded_[p] : base_ + p * layout_.panel_bytes + layout_.codes + Bytes(k);
      Tiles::Prefetch(header + (P + p) * layout_.panel_bytes, layout_.header_step);
    }
    for (int64_t row = row_begin_; row < row_end_; row += kTileBlockRows) {
      const char* x = x_ + (row - row_begin_) / kTileRows * row_tile_bytes_;
      const int row_tiles = row + kTileRows < row_end_ ? 2 : 1;
      const bool first_block = row == row_begin_, last_block = row + kTileBlockRows >= row_end_;
      const auto side = [&](int64_t i) {
        if (first_block) {
          PrefetchCodes(k + i, Min(64, inputs - i));
          if (i + 64 < inputs) Expand(header, k, i + 64);
        }
        // The products of the first 64 inputs are behind us: their place is free.
        if (last_block && i + 64 >= inputs && k + inputs < a_.padded_in) {
          Expand(header + layout_.header_step, k + inputs, 0);
        }
        if (scaled_ < pending_.count) ScaleOne();
      };
      const auto finish = [&] { ScaleRest(); };
      if (row_tiles == 2) {
        SegmentTiles<Tiles, P, 2>(w, x + kQuantTileHeader, row_tile_bytes_, inputs, tile_inputs_,
                                  tiles_, side, finish);
      } else {
        SegmentTiles<Tiles, P, 1>(w, x + kQuantTileHeader, row_tile_bytes_, inputs, tile_inputs_,
                                  tiles_, side, finish);
      }
      pending_ = {.x = x,
                  .scales = scales,
                  .sums = SumsOf(row),
                  .first = k == 0,
                  .row_tiles = row_tiles,
                  .count = P * row_tiles};
      scaled_ = 0;
    }
    x_ += kQuantTileHeader + kTileRows * inputs;
    use_ = 1 - use_;
  }

  void ScaleRest() {
    while (scaled_ < pending_.count) ScaleOne();
  }

  // The next of the pending tiles.
  void ScaleOne() {
    const int p = scaled_ / pending_.row_tiles, t = scaled_ % pending_.row_tiles;
    const int index = 2 * p + t;
    Tiles::ScaleTile({.tile = tiles_ + index * kTileFloats,
                      .x_scales = reinterpret_cast<const float*>(pending_.x + t * row_tile_bytes_),
                      .scales = pending_.scales + p * 16,
                      .acc = pending_.sums + index * kTileFloats,
                      .first = pending_.first});
    ++scaled_;
  }

  // int4: the bytes of inputs [k + i, k + i + 64) of every panel, to where the segment that begins
  // at k expects them.
  void Expand(const char* header, int64_t k, int64_t i) {
    if constexpr (kBits == 4) {
      for (int p = 0; p < P; ++p) {
        const char* panel_header = header + p * layout_.panel_bytes;
        Tiles::Expand(base_ + p * layout_.panel_bytes + layout_.codes + Bytes(k + i),
                      HalfCodesOf(layout_, panel_header, i),
                      HalfCodesOf(layout_, panel_header, i + kHalf), expanded_[p] + i * 16);
      }
    }
  }

  // Fetches as many codes as are used now, some way ahead: in these panels or in those after them.
  void PrefetchCodes(int64_t k, int64_t inputs) {
    const int64_t ahead = k + Tiles::kAheadBytes * 8 / (16 * kBits);
    const char* from = ahead < a_.padded_in ? base_ + layout_.codes + Bytes(ahead)
                                            : base_ + P * layout_.panel_bytes + layout_.codes +
                                                  Bytes(ahead - a_.padded_in);
    for (int p = 0; p < P; ++p) Tiles::Prefetch(from + p * layout_.panel_bytes, Bytes(inputs));
  }

  const PanelsArgs& a_;
  const QuantLayout& layout_;
  const int64_t panel_, row_begin_, row_end_, tile_inputs_, row_tile_bytes_;
  const char* base_;
  const char* x_;  // packed rows at the current segment
  PendingTiles pending_ = {};
  int scaled_ = 0;  // of the pending tiles
  int use_ = 0;     // which of scales_ belongs to the current segment
  alignas(64) float sums_[kSuperTiles * kTileFloats];  // [row block][panel][row tile]
  alignas(64) int32_t tiles_[4 * kTileFloats];
  alignas(64) float scales_[2][P * 16];
  alignas(64) char expanded_[P][kBits == 4 ? kSegmentMax * 16 : 64];
};

template <class Tiles, int kBits>
void RunQuantTilePanels(const PanelsArgs& a) {
  TileConfig config = {};
  config.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = 64;
    config.rows[tile] = 16;
  }
  if (a.layout.segment < 64) {  // weights [16][32], activations [8][16][4]
    config.bytes_per_row[4] = config.bytes_per_row[5] = 32;
    config.rows[6] = config.rows[7] = 8;
  }
  Tiles::Configure(config);
  constexpr int64_t kSuperRows = kQuantTileSuperBlocks * kTileBlockRows;
  for (int64_t row = 0; row < a.rows; row += kSuperRows) {
    const int64_t row_end = Min(row + kSuperRows, a.rows);
    int64_t panel = a.panel_begin;
    for (; panel + 2 <= a.panel_end; panel += 2) {
      QuantTilePanels<Tiles, kBits, 2>(a, panel, row, row_end).Run();
    }
    if (panel < a.panel_end) QuantTilePanels<Tiles, kBits, 1>(a, panel, row, row_end).Run();
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
