// Launchers of the CUDA kernels: host functions without CUDA types, so that the rest of the room is
// plain C++. All pointers are device memory unless a comment says "host". Every launcher enqueues
// on `stream` and returns the launch error; none synchronises or allocates, so that all can be
// captured into a graph.
#pragma once

#include <cstdint>
#include <span>

#include "tessera/backend/cuda/layout.h"
#include "tessera/base/status.h"
#include "tessera/ops/device.h"

struct CUstream_st;

namespace tessera::cuda {

using Stream = CUstream_st*;
using BF16 = uint16_t;  // its bits

// What launchers must know of the GPU; one per device, made by devices.h.
struct Gpu {
  int32_t ordinal = 0;
  int32_t multiprocessors = 0;
  int32_t capability = 0;  // 80, 90, 120
  bool wgmma() const { return capability == 90; }
};

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
// Rows [row_begin, row_begin + kAttentionRows) of a group, or fewer at its end, that are evaluated
// together.
inline constexpr int32_t kAttentionRows = 32;
struct DeviceTile {
  int32_t group, row_begin;
};
struct DeviceStep {
  int32_t padded_rows;        // launch bounds are those of the bucket...
  int32_t max_tiles;          // attention tiles that the bucket allows
  int32_t max_keys;           // largest DeviceGroup::keys that the bucket allows
  int32_t max_group_rows;     // of a group; padded_rows, or at most kAttentionRows
  const int32_t* counts;      // ...actual numbers: [0] rows, [1] groups, [2] tiles, [3] outputs
  const int32_t* tokens;      // [padded_rows]
  const int32_t* slots;       // [padded_rows]
  const int32_t* positions;   // [padded_rows]
  const int32_t* row_group;   // [padded_rows]
  const DeviceGroup* groups;  // [groups]
  const DeviceTile* tiles;    // [max_tiles]
  const int32_t* pages;
  const ops::SlotRange* ranges;
  const uint64_t* bits;
  const int32_t* out_rows;                             // [padded outputs]
  bool operator==(const DeviceStep&) const = default;  // equal launches and addresses
};

// --- Linear layers -----------------------------------------------------------------------------

// A packed matrix as the kernels see it.
struct WeightView {
  ops::WeightFormat format;
  int64_t out = 0, in = 0;
  const void* data = nullptr;             // layout.h
  const float* feature_scales = nullptr;  // [out rounded up to kBand], fp8 only
  bool paired = false;                    // rows in the order of PairedRow
  // Symmetric int4 with a ratio outside [-119, 120], so that a code may saturate.
  bool saturates = false;
};

// One product y = x WT and what becomes of it. Values are f32 sums in an order that depends on the
// weight's shape and the GPU alone, never on the number of rows.
struct LinearStep {
  WeightView weight;
  const BF16* x = nullptr;  // packed activations (layout.h) of the launch's padded rows
  // With square_sums: values are multiplied by rsqrt(sum / in + eps), the sum of the row's
  // square_sums; for x that an earlier step or NormPack wrote without that factor.
  const float* square_sums = nullptr;  // [ceil(in / 64)][padded rows]
  float eps = 0;
  const float* bias = nullptr;  // [out] or null, in the order of the packed rows' sources

  enum class Output : uint8_t {
    kRows,      // y[row * stride + feature - feature_begin] (+)= value; `accumulate` adds
    kResidual,  // hidden[row * out + feature] += value, and the packed input of what follows, see
                // NormPack; norm_weight null: only hidden
    kSilu,      // packed[row, feature] = silu(gate) * up; paired weights only
  };
  Output output = Output::kRows;
  int64_t feature_begin = 0, feature_end = -1;  // kRows: multiples of kBand (end: or out; -1: out)
  float* y = nullptr;
  int64_t stride = 0;
  bool accumulate = false;
  float* hidden = nullptr;
  const float* norm_weight = nullptr;  // [out]
  float* out_square_sums = nullptr;    // [ceil(out / 64)][padded rows]
  BF16* packed = nullptr;              // kResidual: width out; kSilu: width out / 2
};

// Bytes of scratch memory that Linears needs for products of at most `padded_rows` rows and `out`
// features. Zeroed once by the caller before first use; the launches leave it ready for the next.
int64_t LinearScratchBytes(const Gpu& gpu, int64_t padded_rows, int64_t out);

// The steps in order, each of which may read what earlier ones wrote; few launches, at best one.
// `rows` rows are real, the others of PaddedRows(rows) may be computed but are not written to y or
// hidden. At most kMaxLinearSteps.
inline constexpr int32_t kMaxLinearSteps = 8;
Status Linears(Stream stream, const Gpu& gpu, int64_t rows, std::span<const LinearStep> steps,
               void* scratch);

// Weights of type kF32, plain rows [out, in]: y (+)= x WT + bias in f32 without tensor cores, in a
// fixed order of inputs.
Status LinearF32(Stream stream, const ops::LinearArgs& args, const float* weight, int64_t out,
                 int64_t in);

// --- Rows ----------------------------------------------------------------------------------------

// packed = bf16(hidden * norm_weight), zero in the padding of the width, and square_sums[i][row] =
// the sum of hidden^2 over inputs [64 i, 64 i + 64): together the input of a LinearStep with
// square_sums. RMSNorm, with its factor applied after the product.
struct NormPackLaunch {
  int64_t rows = 0, width = 0;
  const float* hidden = nullptr;  // [rows, width]
  const float* norm_weight = nullptr;
  BF16* packed = nullptr;        // of PaddedRows(rows)
  float* square_sums = nullptr;  // [ceil(width / 64)][PaddedRows(rows)]
};
Status NormPack(Stream stream, const NormPackLaunch& args);
// Packed activations of f32 rows [rows, width].
Status PackRows(Stream stream, int64_t rows, int64_t width, const float* x, BF16* packed);
// Packed RmsNorm of chosen rows: packed row i of PaddedRows(count) is
// bf16(RmsNorm(hidden[rows[i]]) * norm_weight).
Status GatherNormPack(Stream stream, const int32_t* rows, int64_t count, int64_t width,
                      const float* hidden, const float* norm_weight, float eps, BF16* packed);

// The plain operations on f32 rows; see ops/device.h. Index arrays are device memory.
Status EmbedRows(Stream stream, const WeightView& table, const int32_t* tokens, int64_t rows,
                 float* out);
Status RmsNorm(Stream stream, const ops::RmsNormArgs& args);
Status SiluMul(Stream stream, const ops::SiluMulArgs& args);
Status GatherRows(Stream stream, const int32_t* rows, int64_t count, int64_t width, const float* x,
                  float* out);
Status AddRows(Stream stream, const int32_t* rows, const float* weights, int64_t count,
               int64_t width, const float* x, float* out);

// --- Attention
// -------------------------------------------------------------------------------------

// ops::RotateAndStoreArgs for the rows of a step; rows with slot -1 are skipped.
struct RotateLaunch {
  DeviceStep step;
  float* qkv = nullptr;  // [padded_rows, (heads + 2 kv_heads) * head_dim]; Q is rotated in place
  int32_t heads = 0;
  const float* q_norm = nullptr;
  const float* k_norm = nullptr;
  float norm_eps = 0;
  int32_t rotary_dim = 0;
  // [rows or positions, rotary_dim]: cos | sin. by_position: row = step.positions[r], else r.
  const float* cos_sin = nullptr;
  bool by_position = false;
  ops::KvLayer kv;
};
Status RotateAndStore(Stream stream, const RotateLaunch& args);

// Attention of all tiles of the step. Listed keys are summed in splits of kAttentionSplit, merged
// in order, so that neither the grid nor batch mates change a bit.
inline constexpr int32_t kAttentionSplit = 128;
struct AttentionLaunch {
  DeviceStep step;
  const float* qkv = nullptr;
  int32_t heads = 0;
  float scale = 0;
  ops::KvLayer kv;
  void* scratch = nullptr;  // AttentionScratchBytes(...); zeroed once before first use
  float* out = nullptr;     // f32 [rows, heads * head_dim], or null
  BF16* packed = nullptr;   // packed activations of the same, of padded_rows, or null
};
int64_t AttentionScratchBytes(const Gpu& gpu, const DeviceStep& step, int32_t heads,
                              const ops::KvFormat& format);
Status Attention(Stream stream, const Gpu& gpu, const AttentionLaunch& args);
// `moves`: pairs of K/V row numbers (page * kPageRows + row), applied in order.
Status KvCopy(Stream stream, const ops::KvLayer& kv, const int32_t* moves, int64_t count);

}  // namespace tessera::cuda
