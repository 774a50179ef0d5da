// What checks and timings of attention share: sequences with paged K/V, launches of some of their
// groups, and the arithmetic in double precision.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/step_table.h"

namespace tessera::cuda {

using ops::AttentionGroup, ops::KvFormat, ops::KvType, ops::MaskRule, ops::SlotRange;

inline void Must(const Status& status) {
  if (status.ok()) return;
  std::printf("FAIL %s\n", std::string(status.message()).c_str());
  std::exit(1);
}
inline void Must(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("FAIL %s\n", cudaGetErrorString(error));
  std::exit(1);
}

class GpuBytes {
 public:
  explicit GpuBytes(int64_t bytes) { Must(cudaMalloc(&data_, static_cast<size_t>(bytes))); }
  template <typename T>
  explicit GpuBytes(const std::vector<T>& values)
      : GpuBytes(static_cast<int64_t>(std::max<size_t>(values.size(), 1) * sizeof(T))) {
    Must(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~GpuBytes() { cudaFree(data_); }
  GpuBytes(const GpuBytes&) = delete;
  GpuBytes& operator=(const GpuBytes&) = delete;
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  template <typename T>
  std::vector<T> Read(size_t count) const {
    std::vector<T> values(count);
    Must(cudaMemcpy(values.data(), data_, count * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  void* data_ = nullptr;
};

inline float FromBits(BF16 bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
inline BF16 ToBits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<BF16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

struct Heads {
  int32_t heads, kv_heads, dim;
  int64_t width() const { return int64_t{heads} * dim; }
  int64_t stride() const { return width() + int64_t{2} * kv_heads * dim; }
};

// A group with its own sequence.
struct SceneGroup {
  MaskRule rule = MaskRule::kFull;
  int32_t block = 0;
  std::vector<SlotRange> ranges;
  std::vector<int32_t> slots;  // of the rows
  std::vector<uint64_t> bits;
  std::vector<int32_t> pages;
  std::vector<float> q;  // [rows, heads * dim]

  int32_t rows() const { return static_cast<int32_t>(slots.size()); }
  size_t words() const { return (slots.size() + 63) / 64; }
  bool Listed(int32_t slot) const {
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const SlotRange& r) { return r.begin <= slot && slot < r.end; });
  }
  bool Visible(int32_t row, int32_t slot) const {
    const int32_t own = slots[static_cast<size_t>(row)];
    if (rule == MaskRule::kCausal && slot > own) return false;
    if (rule == MaskRule::kBlockCausal && slot / block > own / block) return false;
    if (Listed(slot)) return true;
    if (rule != MaskRule::kBits) return false;
    const uint64_t* word = bits.data() + static_cast<size_t>(row) * words();
    for (size_t j = 0; j < slots.size(); ++j) {
      if (slots[j] == slot && (word[j / 64] >> (j % 64) & 1) != 0) return true;
    }
    return false;
  }
  int32_t num_slots() const {
    int32_t end = 1;
    for (const SlotRange& range : ranges) end = std::max(end, range.end);
    for (const int32_t slot : slots) end = std::max(end, slot + 1);
    return end;
  }
};

struct Outputs {
  std::vector<float> out;    // [rows, heads * dim]
  std::vector<BF16> packed;  // of PaddedRows(rows)
};

class Scene {
 public:
  Scene(const Gpu& gpu, const Heads& heads, KvType type, std::vector<SceneGroup> groups,
        std::mt19937& random, const GpuBytes& scratch, int64_t scratch_bytes)
      : gpu_(gpu),
        heads_(heads),
        type_(type),
        groups_(std::move(groups)),
        scratch_(scratch),
        scratch_bytes_(scratch_bytes) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    // Values that bf16 holds exactly: then only the weights are rounded.
    const auto value = [&](float size) { return FromBits(ToBits(size * uniform(random))); };
    int32_t num_pages = 0;
    for (const SceneGroup& group : groups_) num_pages += (group.num_slots() + 63) / 64;
    std::vector<int32_t> order(static_cast<size_t>(num_pages));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    std::shuffle(order.begin(), order.end(), random);
    const size_t elements = static_cast<size_t>(num_pages) * 64 * heads.kv_heads * heads.dim;
    k_.assign(elements, NAN);
    v_.assign(elements, NAN);
    size_t next = 0;
    for (SceneGroup& group : groups_) {
      for (int32_t i = 0; i * 64 < group.num_slots(); ++i) group.pages.push_back(order[next++]);
      for (int32_t slot = 0; slot < group.num_slots(); ++slot) {
        bool written = false;
        for (int32_t row = 0; row < group.rows() && !written; ++row) {
          written = slot == group.slots[static_cast<size_t>(row)] || group.Visible(row, slot);
        }
        if (!written) continue;
        for (int32_t h = 0; h < heads.kv_heads; ++h) {
          for (int32_t d = 0; d < heads.dim; ++d) {
            k_[KeyAt(group, slot, h, d)] = value(1);
            v_[ValueAt(group, slot, h, d)] = value(1);
          }
        }
      }
      for (int64_t i = 0; i < group.rows() * heads.width(); ++i) group.q.push_back(value(3));
    }
    k_gpu_ = Upload(k_);
    v_gpu_ = Upload(v_);
  }

  const std::vector<SceneGroup>& groups() const { return groups_; }

  // All rows of the groups, in this order, as one step.
  Outputs Run(const std::vector<SceneGroup>& groups) const {
    std::vector<AttentionGroup> entries;
    std::vector<int32_t> slots;
    std::vector<float> qkv;
    for (const SceneGroup& group : groups) {
      const auto begin = static_cast<int32_t>(slots.size());
      slots.insert(slots.end(), group.slots.begin(), group.slots.end());
      for (int32_t row = 0; row < group.rows(); ++row) {
        const float* q = group.q.data() + row * heads_.width();
        qkv.insert(qkv.end(), q, q + heads_.width());
        qkv.insert(qkv.end(), static_cast<size_t>(heads_.stride() - heads_.width()), NAN);
      }
      entries.push_back({.row_begin = begin,
                         .row_end = begin + group.rows(),
                         .pages = group.pages,
                         .mask = {.rule = group.rule,
                                  .block = group.block,
                                  .slots = group.ranges,
                                  .bits = group.bits}});
    }
    const auto rows = static_cast<int64_t>(slots.size());
    StepTable table;
    table.Set({.slots = slots, .groups = entries});
    std::vector<std::byte> block(table.bytes());
    table.Write(block.data());
    const GpuBytes step_gpu(block), qkv_gpu(qkv);
    const int64_t packed = ActivationElements(PaddedRows(rows), heads_.width());
    const GpuBytes out(std::vector<uint32_t>(static_cast<size_t>(rows * heads_.width()), ~0u));
    const GpuBytes packed_gpu(std::vector<BF16>(static_cast<size_t>(packed), BF16{0xffff}));
    const KvFormat format = {.type = type_, .kv_heads = heads_.kv_heads, .head_dim = heads_.dim};
    const DeviceStep step = table.At(step_gpu.as<void>());
    if (AttentionScratchBytes(gpu_, step, heads_.heads, format) > scratch_bytes_) {
      std::printf("FAIL the check's scratch memory is too small\n");
      std::exit(1);
    }
    Must(Attention(nullptr, gpu_,
                   {.step = step,
                    .qkv = qkv_gpu.as<float>(),
                    .heads = heads_.heads,
                    .scale = 1 / std::sqrt(static_cast<float>(heads_.dim)),
                    .kv = {.format = format, .k = k_gpu_->as<void>(), .v = v_gpu_->as<void>()},
                    .scratch = scratch_.as<void>(),
                    .out = out.as<float>(),
                    .packed = packed_gpu.as<BF16>()}));
    Must(cudaDeviceSynchronize());
    return {out.Read<float>(static_cast<size_t>(rows * heads_.width())),
            packed_gpu.Read<BF16>(static_cast<size_t>(packed))};
  }

  // Largest |got - expected| of a row and head in units of the error that rounding may cause.
  double Error(const SceneGroup& group, int32_t row, int32_t head, const float* got) const {
    const int32_t kv_head = head / (heads_.heads / heads_.kv_heads);
    const float* q = group.q.data() + row * heads_.width() + int64_t{head} * heads_.dim;
    std::vector<double> scores;
    std::vector<int32_t> visible;
    double most = -INFINITY, total = 0;
    for (int32_t slot = 0; slot < group.num_slots(); ++slot) {
      if (!group.Visible(row, slot)) continue;
      double score = 0;
      for (int32_t d = 0; d < heads_.dim; ++d) {
        score += double{q[d]} * double{k_[KeyAt(group, slot, kv_head, d)]};
      }
      visible.push_back(slot);
      scores.push_back(score / std::sqrt(static_cast<double>(heads_.dim)));
      most = std::max(most, scores.back());
    }
    for (double& score : scores) total += score = std::exp(score - most);
    double worst = 0;
    for (int32_t d = 0; d < heads_.dim; ++d) {
      double value = 0, size = 0;
      for (size_t i = 0; i < visible.size(); ++i) {
        const double part = scores[i] / total * double{v_[ValueAt(group, visible[i], kv_head, d)]};
        value += part;
        size += std::abs(part);
      }
      const double rounding = type_ == KvType::kBF16 ? 0x1p-8 : 1e-5;
      const double error = std::abs(double{got[d]} - value) / (rounding * size + 1e-7);
      worst = error >= 0 && error < 1e30 ? std::max(worst, error) : 1e30;
    }
    return worst;
  }

 private:
  size_t Head(const SceneGroup& group, int32_t slot, int32_t h) const {
    return static_cast<size_t>(group.pages[static_cast<size_t>(slot / 64)]) *
               static_cast<size_t>(heads_.kv_heads) +
           static_cast<size_t>(h);
  }
  size_t KeyAt(const SceneGroup& group, int32_t slot, int32_t h, int32_t d) const {
    const auto head = static_cast<int64_t>(Head(group, slot, h));
    return static_cast<size_t>(KeyIndex(head, slot % 64, d, heads_.dim));
  }
  size_t ValueAt(const SceneGroup& group, int32_t slot, int32_t h, int32_t d) const {
    const auto head = static_cast<int64_t>(Head(group, slot, h));
    return static_cast<size_t>(ValueIndex(head, slot % 64, d, heads_.dim));
  }
  std::unique_ptr<GpuBytes> Upload(const std::vector<float>& values) const {
    if (type_ == KvType::kF32) return std::make_unique<GpuBytes>(values);
    std::vector<BF16> bits;
    for (const float value : values) bits.push_back(std::isnan(value) ? 0x7fff : ToBits(value));
    return std::make_unique<GpuBytes>(bits);
  }

  const Gpu gpu_;
  const Heads heads_;
  const KvType type_;
  std::vector<SceneGroup> groups_;
  const GpuBytes& scratch_;
  const int64_t scratch_bytes_;
  std::vector<float> k_, v_;  // in the GPU's layout
  std::unique_ptr<GpuBytes> k_gpu_, v_gpu_;
};

}  // namespace tessera::cuda
