#include "tests/ops/staged_device.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "tessera/base/check.h"

namespace tessera::ops_test {
namespace {

// Floats in device memory that stand for `count` floats at `host`, null for null; with poison
// behind them. Starts where device buffers do, so nothing here is misaligned but by odd widths.
class Staged {
 public:
  Staged(ops::Device& device, const float* host, int64_t count) : device_(device) {
    if (host == nullptr) return;
    std::vector<float> values(host, host + count);
    values.resize(values.size() + kGuard, std::numeric_limits<float>::quiet_NaN());
    auto buffer = device.Upload(values);
    TESSERA_CHECK(buffer.ok());
    buffer_ = std::move(*buffer);
    count_ = static_cast<size_t>(count);
  }

  float* data() const { return buffer_ ? static_cast<float*>(buffer_->data) : nullptr; }

  Status CopyBack(float* host) const {
    std::vector<float> values(count_ + kGuard);
    TESSERA_RETURN_IF_ERROR(
        device_.Read(values.data(), buffer_->data, values.size() * sizeof(float)));
    const bool intact = std::all_of(values.begin() + static_cast<int64_t>(count_), values.end(),
                                    [](float value) { return std::isnan(value); });
    if (!intact) return Internal("{} wrote behind its result", device_.name());
    std::copy_n(values.begin(), count_, host);
    return OkStatus();
  }

 private:
  static constexpr size_t kGuard = 64;
  ops::Device& device_;
  std::unique_ptr<ops::DeviceBuffer> buffer_;
  size_t count_ = 0;
};

int64_t QkvWidth(int32_t heads, const ops::KvFormat& format) {
  return int64_t{heads + 2 * format.kv_heads} * format.head_dim;
}

int64_t RowsBehindLargest(std::span<const int32_t> rows) {
  return rows.empty() ? 0 : int64_t{*std::max_element(rows.begin(), rows.end())} + 1;
}

class StagedDevice : public ops::Device {
 public:
  explicit StagedDevice(std::unique_ptr<ops::Device> device) : device_(std::move(device)) {}

  std::string_view name() const override { return device_->name(); }
  Result<std::unique_ptr<ops::DeviceBuffer>> Allocate(size_t bytes) override {
    return device_->Allocate(bytes);
  }
  Result<std::unique_ptr<ops::DeviceBuffer>> Upload(std::span<const float> values) override {
    return device_->Upload(values);
  }
  Status Write(void* to, const void* from, size_t bytes) override {
    return device_->Write(to, from, bytes);
  }
  Status Read(void* to, const void* from, size_t bytes) override {
    return device_->Read(to, from, bytes);
  }
  ops::DeviceMemoryInfo memory() const override { return device_->memory(); }
  Result<std::unique_ptr<ops::Matrix>> Pack(const ops::MatrixSource& source) override {
    return device_->Pack(source);
  }
  int64_t KvPageBytes(const ops::KvFormat& format) const override {
    return device_->KvPageBytes(format);
  }

  Status Embed(const ops::EmbedArgs& args) override {
    const auto rows = static_cast<int64_t>(args.tokens.size());
    const Staged out(*device_, args.out, rows * args.table->in());
    ops::EmbedArgs staged = args;
    staged.out = out.data();
    TESSERA_RETURN_IF_ERROR(device_->Embed(staged));
    return out.CopyBack(args.out);
  }

  Status RmsNorm(const ops::RmsNormArgs& args) override {
    const Staged x(*device_, args.x, args.rows * args.width);
    const Staged weight(*device_, args.weight, args.width);
    const Staged out(*device_, args.out, args.rows * args.width);
    const Staged& result = args.out == args.x ? x : out;
    ops::RmsNormArgs staged = args;
    staged.x = x.data();
    staged.weight = weight.data();
    staged.out = result.data();
    TESSERA_RETURN_IF_ERROR(device_->RmsNorm(staged));
    return result.CopyBack(args.out);
  }

  Status Linear(const ops::LinearArgs& args) override {
    const Staged x(*device_, args.x, args.rows * args.weight->in());
    const Staged bias(*device_, args.bias, args.weight->out());
    const Staged y(*device_, args.y, args.rows * args.weight->out());
    ops::LinearArgs staged = args;
    staged.x = x.data();
    staged.bias = bias.data();
    staged.y = y.data();
    TESSERA_RETURN_IF_ERROR(device_->Linear(staged));
    return y.CopyBack(args.y);
  }

  Status RotateAndStore(const ops::RotateAndStoreArgs& args) override {
    const Staged qkv(*device_, args.qkv, args.rows * QkvWidth(args.heads, args.kv.format));
    const Staged q_norm(*device_, args.q_norm, args.kv.format.head_dim);
    const Staged k_norm(*device_, args.k_norm, args.kv.format.head_dim);
    const Staged cos_sin(*device_, args.cos_sin, args.rows * args.rotary_dim);
    ops::RotateAndStoreArgs staged = args;
    staged.qkv = qkv.data();
    staged.q_norm = q_norm.data();
    staged.k_norm = k_norm.data();
    staged.cos_sin = cos_sin.data();
    TESSERA_RETURN_IF_ERROR(device_->RotateAndStore(staged));
    return qkv.CopyBack(args.qkv);
  }

  Status Attention(const ops::AttentionArgs& args) override {
    const auto rows = static_cast<int64_t>(args.slots.size());
    const Staged qkv(*device_, args.qkv, rows * QkvWidth(args.heads, args.kv.format));
    const Staged out(*device_, args.out, rows * args.heads * args.kv.format.head_dim);
    ops::AttentionArgs staged = args;
    staged.qkv = qkv.data();
    staged.out = out.data();
    TESSERA_RETURN_IF_ERROR(device_->Attention(staged));
    return out.CopyBack(args.out);
  }

  Status SiluMul(const ops::SiluMulArgs& args) override {
    const Staged gate_up(*device_, args.gate_up, args.rows * 2 * args.width);
    const Staged out(*device_, args.out, args.rows * args.width);
    ops::SiluMulArgs staged = args;
    staged.gate_up = gate_up.data();
    staged.out = out.data();
    TESSERA_RETURN_IF_ERROR(device_->SiluMul(staged));
    return out.CopyBack(args.out);
  }

  Status GatherRows(const ops::GatherRowsArgs& args) override {
    const Staged x(*device_, args.x, RowsBehindLargest(args.rows) * args.width);
    const Staged out(*device_, args.out, static_cast<int64_t>(args.rows.size()) * args.width);
    ops::GatherRowsArgs staged = args;
    staged.x = x.data();
    staged.out = out.data();
    TESSERA_RETURN_IF_ERROR(device_->GatherRows(staged));
    return out.CopyBack(args.out);
  }

  Status AddRows(const ops::AddRowsArgs& args) override {
    const Staged x(*device_, args.x, static_cast<int64_t>(args.rows.size()) * args.width);
    const Staged out(*device_, args.out, RowsBehindLargest(args.rows) * args.width);
    ops::AddRowsArgs staged = args;
    staged.x = x.data();
    staged.out = out.data();
    TESSERA_RETURN_IF_ERROR(device_->AddRows(staged));
    return out.CopyBack(args.out);
  }

  Status Route(const ops::RouteArgs& args) override {
    const Staged logits(*device_, args.logits, args.rows * args.experts);
    const Staged bias(*device_, args.bias, args.experts);
    ops::RouteArgs staged = args;
    staged.logits = logits.data();
    staged.bias = bias.data();
    return device_->Route(staged);
  }

  Status HeadStats(const ops::HeadStatsArgs& args) override {
    const Staged hidden(*device_, args.hidden, args.rows * args.head->in());
    ops::HeadStatsArgs staged = args;
    staged.hidden = hidden.data();
    return device_->HeadStats(staged);
  }

  Status HeadLogits(const ops::HeadLogitsArgs& args) override {
    const Staged hidden(*device_, args.hidden, args.rows * args.head->in());
    ops::HeadLogitsArgs staged = args;
    staged.hidden = hidden.data();
    return device_->HeadLogits(staged);
  }

  Status KvCopy(const ops::KvCopyArgs& args) override { return device_->KvCopy(args); }

 private:
  std::unique_ptr<ops::Device> device_;
};

}  // namespace

std::unique_ptr<ops::Device> MakeStagedDevice(std::unique_ptr<ops::Device> device) {
  return std::make_unique<StagedDevice>(std::move(device));
}

}  // namespace tessera::ops_test
