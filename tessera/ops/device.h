// The operations a backend implements: the contract between models and devices.
//
// Every operation works on the rows of one forward, `rows` tokens of any mix of sequences. A row's
// result never depends on the other rows (batch invariance): kernels keep one accumulation order
// per output element whatever the number of rows. Arguments are trusted (checked by the model
// code); sizes of 0 rows are legal and do nothing. Not thread-safe: one forward at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/ops/kv_type.h"
#include "tessera/ops/mask.h"
#include "tessera/ops/matrix.h"
#include "tessera/ops/row_stats.h"

namespace tessera::ops {

// Memory on a device; `data` is dereferenceable only by that device's operations.
class DeviceBuffer {
 public:
  virtual ~DeviceBuffer() = default;
  void* data = nullptr;
  size_t bytes = 0;
};

// Rows of a K/V page: slot s of a sequence is row s % kPageRows of page pages[s / kPageRows].
inline constexpr int32_t kPageRows = 64;

// K and V of one layer: `k` and `v` each hold num_pages pages of Device::KvPageBytes(format).
// K is stored after rotary embedding. The layout inside a page belongs to the device.
struct KvFormat {
  KvType type = KvType::kF32;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
};
struct KvLayer {
  KvFormat format;
  void* k = nullptr;
  void* v = nullptr;
};

// Rows [row_begin, row_end) of the forward that belong to one mask of one sequence.
struct AttentionGroup {
  int32_t row_begin = 0;
  int32_t row_end = 0;
  std::span<const int32_t> pages;  // page table of the sequence
  MaskSpec mask;
};

struct EmbedArgs {
  const Matrix* table;              // [vocab, width]
  std::span<const TokenId> tokens;  // [rows], all in [0, vocab)
  float* out;                       // [rows, width]
};

struct RmsNormArgs {
  int64_t rows;
  int64_t width;
  const float* x;       // [rows, width]
  const float* weight;  // [width]
  float eps;
  float* out;  // [rows, width]; may alias x
};

struct LinearArgs {
  int64_t rows;
  const float* x;           // [rows, in]
  const Matrix* weight;     // [out, in]
  const float* bias;        // [out] or null
  float* y;                 // [rows, out]; must not alias x
  bool accumulate = false;  // y += instead of y = (residual connections)
};

// Splits fused QKV rows, applies per-head RMSNorm to Q and K if weights are given, rotates the
// first `rotary_dim` elements of each Q and K head (rotate-half), writes K and V to their slots and
// leaves Q in place.
struct RotateAndStoreArgs {
  int64_t rows;
  float* qkv;  // [rows, (heads + 2 * kv_heads) * head_dim]: Q | K | V
  int32_t heads;
  const float* q_norm;  // [head_dim] or null
  const float* k_norm;  // [head_dim] or null
  float norm_eps;
  int32_t rotary_dim;              // even, <= head_dim
  const float* cos_sin;            // [rows, rotary_dim]: cos of each frequency, then sin of each
  std::span<const int32_t> slots;  // [rows]
  std::span<const AttentionGroup> groups;  // give each row its page table
  KvLayer kv;
};

struct AttentionArgs {
  const float* qkv;  // [rows, (heads + 2 * kv_heads) * head_dim]; only Q is read
  int32_t heads;
  float scale;                             // usually 1 / sqrt(head_dim)
  std::span<const int32_t> slots;          // [rows]
  std::span<const AttentionGroup> groups;  // cover every row once
  KvLayer kv;
  float* out;  // [rows, heads * head_dim]
};

struct SiluMulArgs {
  int64_t rows;
  int64_t width;
  const float* gate_up;  // [rows, 2 * width]: gate | up
  float* out;            // [rows, width] = silu(gate) * up
};

// Copies chosen rows: out[i] = x[rows[i]].
struct GatherRowsArgs {
  std::span<const int32_t> rows;
  int64_t width;
  const float* x;  // [any, width]
  float* out;      // [rows.size(), width]
};

// out[rows[i]] += weights[i] * x[i], in the order of i: where a row is listed several times, its
// sum depends on its own entries alone.
struct AddRowsArgs {
  std::span<const int32_t> rows;
  std::span<const float> weights;  // one per entry of rows
  int64_t width;
  const float* x;  // [rows.size(), width]
  float* out;      // [any, width]; must not alias x
};

enum class RouterScore : uint8_t { kSoftmax, kSigmoid };

// How a row of a mixture of experts chooses its experts and weighs them.
struct RouterSpec {
  RouterScore score = RouterScore::kSoftmax;
  int32_t top_k = 1;
  int32_t groups = 1;      // the experts are split evenly, in order of their ids
  int32_t top_groups = 1;  // only so many groups, at least top_k experts in all, are chosen from
  bool normalise = false;  // the weights of a row are divided by their sum + 1e-20
  float scale = 1;         // and multiplied by this
};

// Scores are the softmax or the sigmoid of the logits, in f32 or better. Chosen are the top_k
// experts with the largest score + bias, of the groups with the largest sum of their two best ones;
// ties go to the lower id and NaN counts as the smallest. A weight comes from the score alone: the
// bias balances load and does not mix.
struct RouteArgs {
  int64_t rows;
  int32_t experts;  // a multiple of spec.groups
  RouterSpec spec;
  const float* logits;        // [rows, experts]
  const float* bias;          // [experts] or null
  std::span<int32_t> chosen;  // [rows, top_k] on the host, ascending within a row
  std::span<float> weights;   // [rows, top_k] on the host
};

// logits = hidden * headᵀ, reduced to RowStats without keeping [rows, vocab]. The head is read once
// for all requests, whatever mix of SamplingSpecs they carry.
struct HeadStatsArgs {
  int64_t rows;
  const float* hidden;  // [rows, in] after the final norm
  const Matrix* head;   // [vocab, in]
  std::span<const RowRequest> requests;
  std::span<RowStats> stats;  // one per request
};

// Full logits, for goldens, likelihood and debugging; [rows, vocab] on the host.
struct HeadLogitsArgs {
  int64_t rows;
  const float* hidden;
  const Matrix* head;
  float* logits;
};

struct KvCopyArgs {
  KvLayer kv;
  std::span<const int32_t> pages;                      // page table of the sequence
  std::span<const std::pair<int32_t, int32_t>> moves;  // (from slot, to slot), applied in order
};

// --- A whole forward -----------------------------------------------------------------------------
//
// hidden = embedding[tokens]; per layer
//   qkv = qkv * RmsNorm(hidden) + bias; RotateAndStore; hidden += o * Attention
//   hidden += down * SiluMul(gate_up * RmsNorm(hidden))
// and the statistics of head * RmsNorm(hidden[out_rows]).

// Matrices and device vectors of one layer with a dense feed-forward.
struct DecoderLayer {
  const Matrix* qkv = nullptr;            // [(heads + 2 kv_heads) * head_dim, width]
  const Matrix* o = nullptr;              // [width, heads * head_dim]
  const Matrix* gate_up = nullptr;        // [2 ffn_width, width]: gate | up
  const Matrix* down = nullptr;           // [width, ffn_width]
  const float* attention_norm = nullptr;  // [width]
  const float* ffn_norm = nullptr;        // [width]
  const float* qkv_bias = nullptr;        // [qkv->out()] or null
  const float* q_norm = nullptr;          // [head_dim] or null
  const float* k_norm = nullptr;          // [head_dim] or null
};

// A network, the same for all of its forwards.
struct DecoderShape {
  std::vector<DecoderLayer> layers;
  const Matrix* embedding = nullptr;  // [vocab, width]
  const Matrix* head = nullptr;       // [vocab, width]
  const float* final_norm = nullptr;  // [width]
  int64_t width = 0;
  int32_t heads = 0, kv_heads = 0, head_dim = 0;
  std::vector<float> frequencies;  // rotary: half of the rotated elements of a head, f32
  float norm_eps = 0;
};

struct DecoderArgs {
  std::span<const TokenId> tokens;         // [rows], at least one
  std::span<const int32_t> positions;      // [rows] of the rotary embedding
  std::span<const int32_t> slots;          // [rows]
  std::span<const AttentionGroup> groups;  // cover every row once, in order
  std::span<const int32_t> out_rows;       // may be empty; ascending
  std::span<const KvLayer> kv;             // [layers]; may differ from forward to forward
  std::span<const RowRequest> requests;    // RowRequest::row indexes out_rows
  std::span<RowStats> stats;               // one per request
};

// A network as a device runs it in one go. Made once per model and freed before its weights; owns
// what its forwards need beside them.
class CompiledDecoder {
 public:
  virtual ~CompiledDecoder() = default;
  // The numbers of the operations one by one, up to the rounding of activations between them.
  virtual Status Run(const DecoderArgs& args) = 0;
};

// Bytes of the device's memory; 0: unknown.
struct DeviceMemoryInfo {
  int64_t total = 0, free = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view name() const = 0;  // "cpu:avx512bf16", "cuda:0"
  virtual DeviceMemoryInfo memory() const { return {}; }

  virtual Result<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) = 0;
  virtual Result<std::unique_ptr<DeviceBuffer>> Upload(std::span<const float> values) = 0;
  // Copies from the host to the device and back; done when they return.
  virtual Status Write(void* to, const void* from, size_t bytes) = 0;
  virtual Status Read(void* to, const void* from, size_t bytes) = 0;
  virtual Result<std::unique_ptr<Matrix>> Pack(const MatrixSource& source) = 0;
  virtual int64_t KvPageBytes(const KvFormat& format) const = 0;  // one of K or V, one layer
  virtual bool HoldsKv(KvType type) const { return type != KvType::kInt8; }

  virtual Status Embed(const EmbedArgs& args) = 0;
  virtual Status RmsNorm(const RmsNormArgs& args) = 0;
  virtual Status Linear(const LinearArgs& args) = 0;
  virtual Status RotateAndStore(const RotateAndStoreArgs& args) = 0;
  virtual Status Attention(const AttentionArgs& args) = 0;
  virtual Status SiluMul(const SiluMulArgs& args) = 0;
  virtual Status GatherRows(const GatherRowsArgs& args) = 0;
  virtual Status AddRows(const AddRowsArgs& args) = 0;
  virtual Status Route(const RouteArgs& args) = 0;
  virtual Status HeadStats(const HeadStatsArgs& args) = 0;
  virtual Status HeadLogits(const HeadLogitsArgs& args) = 0;
  virtual Status KvCopy(const KvCopyArgs& args) = 0;

  // Null: this device runs such a network operation by operation.
  virtual Result<std::unique_ptr<CompiledDecoder>> CompileDecoder(const DecoderShape&) {
    return std::unique_ptr<CompiledDecoder>();
  }
};

}  // namespace tessera::ops
