// Where the elements of packed operands lie in device memory. Shared by host and device code.
//
// Products are computed as yT = W xT. A block of the grid multiplies 128 output features (half a
// band) with up to 256 rows; two neighbouring blocks form a pair that shares a band of 256 features
// and the same inputs. Weights are cut along the inputs into stages, each a contiguous piece of
// memory that one bulk copy fetches.
#pragma once

#include <cstdint>

#include "tessera/ops/matrix.h"

#if defined(__CUDACC__)
#define TESSERA_HD __host__ __device__
#else
#define TESSERA_HD
#endif

namespace tessera::cuda {

inline constexpr int64_t kBand = 256;      // output features of a pair of blocks
inline constexpr int64_t kHalfBand = 128;  // of one block
inline constexpr int64_t kChunk = 64;      // inputs of one chunk of packed activations
inline constexpr int64_t kRowTile = 128;   // rows of one tile of packed activations

TESSERA_HD constexpr int64_t RoundUp(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// --- Activations: bf16 ---------------------------------------------------------------------------

// Rows that packed activations hold for `rows` rows: 8, 16, 32, 64, then whole tiles of 128.
// The surplus rows may hold anything; no row depends on another.
TESSERA_HD constexpr int64_t PaddedRows(int64_t rows) {
  return rows <= 8    ? 8
         : rows <= 16 ? 16
         : rows <= 32 ? 32
         : rows <= 64 ? 64
                      : RoundUp(rows, kRowTile);
}
// Inputs are padded to whole chunks of any weight format's stage: to 256, with zeros.
TESSERA_HD constexpr int64_t PaddedInputs(int64_t in) { return RoundUp(in, 256); }

// Element (row, k) of packed activations [padded_rows, PaddedInputs(width)]: tiles of 128 rows (or
// of all, when fewer), in each the chunks of 64 inputs, in each the core matrices of wgmma: 8
// blocks of 8 inputs, in each the rows x 8 inputs. A chunk of a tile is contiguous.
TESSERA_HD constexpr int64_t ActivationIndex(int64_t row, int64_t k, int64_t padded_rows,
                                             int64_t width) {
  const int64_t tile_rows = padded_rows < kRowTile ? padded_rows : kRowTile;
  return row / kRowTile * (kRowTile * PaddedInputs(width)) + k / kChunk * (tile_rows * kChunk) +
         (k % kChunk / 8 * tile_rows + row % kRowTile) * 8 + k % 8;
}
TESSERA_HD constexpr int64_t ActivationElements(int64_t padded_rows, int64_t width) {
  return padded_rows * PaddedInputs(width);
}

// --- Weights
// ---------------------------------------------------------------------------------------

// One stage of half a band: 128 features x `inputs`, `bytes` in all:
//   elements | scales | ratios | offsets
// with   scales   one binary16 per feature and `scale_inputs` inputs, in units of ops::kScaleUnit:
//                 [inputs / scale_inputs][128]; integer formats only
//        ratios   int4: one byte per feature and `group` inputs: [inputs / group][128]
//        offsets  asymmetric int4: the same
// fp8 (e4m3) has one f32 scale per feature beside the stages; see WeightView.
struct StageLayout {
  int32_t inputs = 0;
  int32_t scale_inputs = 0;                              // <= inputs
  int32_t group = 0;                                     // int4; <= inputs
  int32_t scales_at = 0, ratios_at = 0, offsets_at = 0;  // byte offsets; equal to `bytes` if absent
  int32_t bytes = 0;                                     // a multiple of 16
};

TESSERA_HD constexpr StageLayout LayoutOf(const ops::WeightFormat& format) {
  constexpr int32_t kFeatures = static_cast<int32_t>(kHalfBand);
  StageLayout layout;
  switch (format.type) {
    case ops::WeightType::kF32: return layout;  // plain rows [out, in]; not staged
    case ops::WeightType::kBF16: layout.inputs = 64; break;
    case ops::WeightType::kF8: layout.inputs = 128; break;
    case ops::WeightType::kInt8: layout.inputs = 128; break;
    case ops::WeightType::kInt4: layout.inputs = 256; break;
  }
  const int32_t elements = format.type == ops::WeightType::kBF16   ? kFeatures * layout.inputs * 2
                           : format.type == ops::WeightType::kInt4 ? kFeatures * layout.inputs / 2
                                                                   : kFeatures * layout.inputs;
  layout.scales_at = layout.ratios_at = layout.offsets_at = layout.bytes = elements;
  const int32_t group = format.group == 0 ? 256 : format.group;
  if (format.type == ops::WeightType::kInt8) {
    layout.scale_inputs = group < layout.inputs ? group : layout.inputs;
    layout.bytes += layout.inputs / layout.scale_inputs * kFeatures * 2;
    layout.ratios_at = layout.offsets_at = layout.bytes;
  } else if (format.type == ops::WeightType::kInt4) {
    layout.scale_inputs = 256;
    layout.group = group;
    layout.ratios_at = elements + kFeatures * 2;
    layout.bytes = layout.offsets_at = layout.ratios_at + 256 / group * kFeatures;
    if (!format.symmetric) layout.bytes += 256 / group * kFeatures;
  }
  return layout;
}

TESSERA_HD constexpr int64_t NumBands(int64_t out) { return RoundUp(out, kBand) / kBand; }
TESSERA_HD constexpr int64_t NumStages(const StageLayout& layout, int64_t in) {
  return PaddedInputs(in) / layout.inputs;
}
// Stage `stage` of half `half` of band `band`: [band][half][stage].
TESSERA_HD constexpr int64_t StageOffset(const StageLayout& layout, int64_t in, int64_t band,
                                         int64_t half, int64_t stage) {
  return ((band * 2 + half) * NumStages(layout, in) + stage) * layout.bytes;
}
TESSERA_HD constexpr int64_t PackedBytes(const StageLayout& layout, int64_t out, int64_t in) {
  return NumBands(out) * 2 * NumStages(layout, in) * layout.bytes;
}

// Elements of a stage, feature f in [0, 128), input k in [0, inputs).
//
// bf16: core matrices of wgmma's A operand in shared memory: [k / 8][f][k % 8]. In elements.
TESSERA_HD constexpr int64_t ElementBF16(int64_t f, int64_t k) {
  return (k / 8 * 128 + f) * 8 + k % 8;
}

// Narrower formats: the order in which the lanes of a warp hold the A operand of a 16 x 16 step in
// registers, so that one 16-byte load per lane fetches 2 steps of 8-bit or 4 of 4-bit weights. Lane
// 4 g + t of warp f / 16 holds the pairs (inputs 2t, 2t+1) of
//   pair 0: feature g       pair 1: feature g + 8       inputs 0..7 of the step
//   pair 2: feature g       pair 3: feature g + 8       inputs 8..15 of the step
struct FragmentPlace {
  int64_t warp, lane, pair, element;  // element 0 or 1 of the pair
};
TESSERA_HD constexpr FragmentPlace PlaceOf(int64_t f, int64_t k) {
  const int64_t e = k % 16;
  return {f / 16, f % 8 * 4 + e % 8 / 2, e / 8 * 2 + f % 16 / 8, e % 2};
}
// 8-bit: byte index. [k / 32][warp][lane] x 16 bytes = 2 steps x 2 words; word 0 of a step holds
// pairs 0 and 1, word 1 pairs 2 and 3; in a word, byte 0 and 2 are the even pair, 1 and 3 the odd.
TESSERA_HD constexpr int64_t ElementByte(int64_t f, int64_t k) {
  const FragmentPlace p = PlaceOf(f, k);
  return ((k / 32 * 8 + p.warp) * 32 + p.lane) * 16 + k / 16 % 2 * 8 + p.pair / 2 * 4 +
         p.element * 2 + p.pair % 2;
}
// 4-bit: nibble index (low nibble of a byte first). [k / 64][warp][lane] x 16 bytes = 4 steps x 1
// word; nibble p of the low half word is element 0 of pair p, of the high half word element 1.
// A nibble is the code + 8.
TESSERA_HD constexpr int64_t ElementNibble(int64_t f, int64_t k) {
  const FragmentPlace p = PlaceOf(f, k);
  return (((k / 64 * 8 + p.warp) * 32 + p.lane) * 4 + k / 16 % 4) * 8 + p.element * 4 + p.pair;
}

// --- Order of output features
// ------------------------------------------------------------------------

// Two parts of equal height `half_out` that are read as [gate | up] take turns in eights, so that a
// lane of the tensor cores holds both of a feature: packed row 16 i + j is row 8 i + j of the first
// part for j < 8, and 8 i + j - 8 of the second. half_out must be a multiple of 8.
TESSERA_HD constexpr int64_t PairedRow(int64_t packed, int64_t half_out) {
  const int64_t feature = packed / 16 * 8 + packed % 8;
  return packed % 16 < 8 ? feature : half_out + feature;
}

// --- Keys and values
// -----------------------------------------------------------------------------------

// A page of K of one layer: [kv_head][64 keys][head_dim], of V: [kv_head][head_dim][64 keys], so
// that a lane reads 16 consecutive bytes of either as operands of the tensor cores. In elements.
TESSERA_HD constexpr int64_t KeyIndex(int64_t kv_head, int64_t key, int64_t d, int64_t head_dim) {
  return (kv_head * 64 + key) * head_dim + d;
}
TESSERA_HD constexpr int64_t ValueIndex(int64_t kv_head, int64_t key, int64_t d, int64_t head_dim) {
  return (kv_head * head_dim + d) * 64 + key;
}

}  // namespace tessera::cuda
