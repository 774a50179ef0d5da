// Launchers of the CUDA kernels: host functions without CUDA types, so that the rest of the room is
// plain C++. All pointers are device memory unless a comment says "host". Every launcher enqueues
// on `stream` and returns the launch error; none synchronises. Launched with programmatic dependent
// launch: a kernel waits for its predecessor before it reads anything but weights.
#pragma once

#include <cstdint>

#include "tessera/backend/cuda/layout.h"
#include "tessera/base/status.h"
#include "tessera/ops/device.h"

struct CUstream_st;

namespace tessera::cuda {

using Stream = CUstream_st*;
using BF16 = uint16_t;  // its bits

// Element type of packed activations: what the matrices of a model are multiplied with.
enum class ActivationType : uint8_t { kBF16, kF8 };

// One forward's rows in device memory, made by StepTable. Arrays are padded to `padded_rows` of the
// graph bucket; a surplus row has slot -1, group -1, token 0 and position 0, and kernels skip it
// where they would write K/V.
struct DeviceGroup {
  int32_t row_begin, row_end;
  int32_t page_begin;                // into pages
  int32_t range_begin, range_count;  // into ranges
  int32_t keys;                      // slots in all ranges
  int32_t rule, block;               // ops::MaskRule, positions per block
  int32_t bits_begin;                // into bits (words), kBits only
};
// Rows [row_begin, row_begin + kAttentionRows) of a group, or fewer at its end, that one attention
// block evaluates together.
inline constexpr int32_t kAttentionRows = 32;
struct DeviceTile {
  int32_t group, row_begin;
};
struct DeviceStep {
  int32_t padded_rows;  // launch bounds are those of the bucket...
  int32_t max_tiles;    // attention tiles of `kAttentionRows` rows that the bucket allows
  int32_t max_keys;     // largest DeviceGroup::keys that the bucket allows
  const int32_t*
      counts;  // ...actual numbers: [0] rows, [1] groups, [2] attention tiles, [3] outputs
  const int32_t* tokens;      // [padded_rows]
  const int32_t* slots;       // [padded_rows]
  const int32_t* row_group;   // [padded_rows]
  const DeviceGroup* groups;  // [groups]
  const DeviceTile* tiles;    // [max_tiles]
  const int32_t* pages;
  const ops::SlotRange* ranges;
  const uint64_t* bits;
  const int32_t* out_rows;  // [padded outputs]
};

// A packed matrix as the kernels see it.
struct WeightView {
  ops::WeightFormat format;
  bool f8 = false;  // e4m3 with one scale per feature, multiplied with e4m3 activations
  int64_t out = 0, in = 0;
  const void* data = nullptr;  // layout.h
  const float* scales = nullptr;
  // Gate and up rows take turns in eights, so that one lane holds both of a feature: packed feature
  // 16 i + j is gate 8 i + j for j < 8 and up 8 i + j - 8 otherwise. Set for two parts of equal
  // height that are read as [gate | up].
  bool paired = false;
  int32_t splits = 1;  // parts of the inputs that are summed apart (narrow matrices)
};

// y = x WT, `x` packed activations of PaddedRows(rows) rows.
struct LinearLaunch {
  const WeightView* weight = nullptr;
  int64_t rows = 0;
  const void* x = nullptr;
  const float* x_scales = nullptr;  // [padded rows], e4m3 activations only
  int64_t feature_begin = 0;        // a multiple of 64; only features [begin, end) are computed
  int64_t feature_end = -1;         // -1: all
  enum class Output : uint8_t {
    kRows,      // y[row * stride + feature - feature_begin] (+)= value + bias; splits == 1 only
    kPartials,  // partials[split][row * out + feature] = value; AddNormPack or SumPartials adds
                // them up
    kSilu,      // packed bf16 activations of silu(gate) * up, [padded rows, out / 2]; paired only
  };
  Output output = Output::kRows;
  bool accumulate = false;
  const float* bias = nullptr;  // [out] or null
  float* y = nullptr;           // rows or partials
  int64_t stride = 0;
  BF16* packed = nullptr;  // kSilu
};
Status Linear(Stream stream, const LinearLaunch& args);

// hidden += the sum of the partials (if any), in order; then packed activations of
// RmsNorm(hidden) * weight. partials: [splits][padded rows of the linear, width] with row stride
// width. norm_weight null: nothing is packed. kF8: one scale per row = largest magnitude / 448.
struct AddNormPackLaunch {
  int64_t rows = 0, width = 0;
  float* hidden = nullptr;
  const float* partials = nullptr;
  int32_t splits = 0;
  int64_t partial_stride = 0;  // floats from one split to the next
  const float* norm_weight = nullptr;
  float eps = 0;
  ActivationType type = ActivationType::kBF16;
  void* packed = nullptr;
  float* scales = nullptr;  // kF8
};
Status AddNormPack(Stream stream, const AddNormPackLaunch& args);

// Packed activations of f32 rows [rows, width], and e4m3 ones of packed bf16 ones.
Status PackRows(Stream stream, int64_t rows, int64_t width, const float* x, ActivationType type,
                void* packed, float* scales);
Status PackedToF8(Stream stream, int64_t rows, int64_t width, const BF16* x, void* packed,
                  float* scales);
// y[row] = (accumulate ? y : 0) + bias + the sum of the partials, in order.
Status SumPartials(Stream stream, int64_t rows, int64_t width, const float* partials,
                   int32_t splits, int64_t partial_stride, const float* bias, bool accumulate,
                   float* y);

// The plain operations on f32 rows; see ops/device.h. Index arrays are device memory.
Status EmbedRows(Stream stream, const WeightView& table, const int32_t* tokens, int64_t rows,
                 float* out);
Status RmsNorm(Stream stream, const ops::RmsNormArgs& args);
Status SiluMul(Stream stream, const ops::SiluMulArgs& args);
Status GatherRows(Stream stream, const int32_t* rows, int64_t count, int64_t width, const float* x,
                  float* out);
Status AddRows(Stream stream, const int32_t* rows, const float* weights, int64_t count,
               int64_t width, const float* x, float* out);

// K/V pages: [page][kv_head][kPageRows][head_dim], bf16 or f32.
// Adds nothing to Q | K | V but what ops::RotateAndStoreArgs says; rows with slot -1 are skipped.
struct RotateLaunch {
  DeviceStep step;
  float* qkv = nullptr;  // [padded_rows, (heads + 2 kv_heads) * head_dim]; Q is rotated in place
  int32_t heads = 0;
  const float* q_norm = nullptr;
  const float* k_norm = nullptr;
  float norm_eps = 0;
  int32_t rotary_dim = 0;
  const float* cos_sin = nullptr;  // [padded_rows, rotary_dim]
  ops::KvLayer kv;
};
Status RotateAndStore(Stream stream, const RotateLaunch& args);

// Attention of all tiles of the step. Keys are summed in splits of kAttentionSplit listed keys;
// splits are merged in order, by whichever kernel, so that neither the grid nor batch mates change
// a bit.
inline constexpr int32_t kAttentionSplit = 256;
struct AttentionLaunch {
  DeviceStep step;
  const float* qkv = nullptr;
  int32_t heads = 0;
  float scale = 0;
  ops::KvLayer kv;
  float* scratch = nullptr;  // AttentionScratchFloats(...)
  float* out = nullptr;      // f32 [rows, heads * head_dim], or null
  BF16* packed = nullptr;    // packed bf16 activations of the same, or null
};
int64_t AttentionScratchFloats(const DeviceStep& step, int32_t heads, int32_t head_dim);
Status Attention(Stream stream, const AttentionLaunch& args);
// `moves`: pairs of K/V row numbers (page * kPageRows + row), applied in order.
Status KvCopy(Stream stream, const ops::KvLayer& kv, const int32_t* moves, int64_t count);

}  // namespace tessera::cuda
