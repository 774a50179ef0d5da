// Where the elements of packed operands lie in device memory. Shared by host and device code.
//
// Products are computed as yT = W xT: 64 output features (a warpgroup's M) times up to 256 rows
// (N). Weights lie in the order in which the lanes of a warp hold the A operand of
// mma.m16n8k16 / wgmma.m64nNk16, so that one 16-byte load per lane fetches one fragment;
// activations lie in core matrices of 8 rows x 16 bytes, the B operand of both instructions.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define TESSERA_HD __host__ __device__
#else
#define TESSERA_HD
#endif

namespace tessera::cuda {

inline constexpr int64_t kFeatureTile = 64;  // output features of one warpgroup
inline constexpr int64_t kChunk = 64;        // inputs are padded to whole chunks, with zeros
inline constexpr int64_t kRowTile = 128;     // rows of one tile of packed activations

TESSERA_HD constexpr int64_t RoundUp(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Rows that packed activations hold for `rows` rows: 8, 16, 32, 64, then whole tiles of 128.
// The surplus rows may hold anything; no row depends on another.
TESSERA_HD constexpr int64_t PaddedRows(int64_t rows) {
  return rows <= 8    ? 8
         : rows <= 16 ? 16
         : rows <= 32 ? 32
         : rows <= 64 ? 64
                      : RoundUp(rows, kRowTile);
}

// Element (row, k) of packed activations [padded_rows, RoundUp(width, kChunk)] of `bytes` bytes per
// element: tiles of 128 rows, in each the 16-byte blocks of k, in each the core matrices of 8 rows.
TESSERA_HD constexpr int64_t ActivationIndex(int64_t row, int64_t k, int64_t padded_rows,
                                             int64_t width, int64_t bytes) {
  const int64_t tile_rows = padded_rows < kRowTile ? padded_rows : kRowTile;
  const int64_t block = 16 / bytes;  // elements of one row of a core matrix
  return row / kRowTile * (kRowTile * RoundUp(width, kChunk)) +
         ((k / block) * tile_rows + row % kRowTile) * block + k % block;
}
TESSERA_HD constexpr int64_t ActivationElements(int64_t padded_rows, int64_t width) {
  return padded_rows * RoundUp(width, kChunk);
}

// Element (feature, k) of packed 2-byte weights: tiles of 64 features, in each the steps of 16
// inputs, in each 4 warps x 32 lanes x 8 elements. Lane g * 4 + t of a warp holds features g and
// g + 8 of the warp's 16, inputs 2t, 2t + 1, 2t + 8 and 2t + 9, in the order
// (g, 2t) (g, 2t+1) (g+8, 2t) (g+8, 2t+1) (g, 2t+8) (g, 2t+9) (g+8, 2t+8) (g+8, 2t+9).
TESSERA_HD constexpr int64_t WeightIndex(int64_t feature, int64_t k, int64_t in) {
  const int64_t tile = feature / kFeatureTile, warp = feature % kFeatureTile / 16, f = feature % 16;
  const int64_t step = k / 16, e = k % 16;
  const int64_t lane = f % 8 * 4 + e % 8 / 2;
  const int64_t element = e / 8 * 4 + f / 8 * 2 + e % 2;
  return ((tile * (RoundUp(in, kChunk) / 16) + step) * 4 + warp) * 256 + lane * 8 + element;
}

}  // namespace tessera::cuda
