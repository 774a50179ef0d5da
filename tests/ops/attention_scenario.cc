#include "tests/ops/attention_scenario.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tessera::ops_test {

std::vector<int32_t> Slots(int32_t begin, int32_t end) {
  std::vector<int32_t> slots(end - begin);
  std::iota(slots.begin(), slots.end(), begin);
  return slots;
}

AttentionRun::AttentionRun(ops::Device& device, const Scenario& scenario)
    : device_(device), scenario_(scenario) {
  int32_t num_pages = 0;
  for (const Sequence& sequence : scenario.sequences) {
    int32_t end = sequence.context;
    for (const int32_t slot : sequence.slots) end = std::max(end, slot + 1);
    for (const ops::SlotRange& range : sequence.visible) end = std::max(end, range.end);
    pages_.push_back(Slots(num_pages, num_pages + (end + 63) / 64));
    num_pages += static_cast<int32_t>(pages_.back().size());
  }
  std::vector<int32_t> shuffled = Slots(0, num_pages);
  for (int32_t i = num_pages; i > 1; --i) {
    std::swap(shuffled[i - 1], shuffled[RandomInt(num_pages, i, i)]);
  }
  for (auto& table : pages_) {
    for (int32_t& page : table) page = shuffled[page];
  }
  const ops::KvFormat format = kv().format;
  const size_t bytes = static_cast<size_t>(device.KvPageBytes(format)) * num_pages;
  for (auto* buffer : {&k_, &v_}) {
    auto allocated = device.Allocate(bytes);
    TESSERA_CHECK(allocated.ok());
    *buffer = std::move(*allocated);
    // NaN in f32 and in bf16
    const std::vector<std::byte> poison(bytes, std::byte{0xff});
    TESSERA_CHECK(device.Write((*buffer)->data, poison.data(), bytes).ok());
  }
  q_norm_ = Normals(scenario.head_dim, 21);
  k_norm_ = Normals(scenario.head_dim, 22);
}

ops::KvLayer AttentionRun::kv() const {
  return {.format = {.type = scenario_.type,
                     .kv_heads = scenario_.kv_heads,
                     .head_dim = scenario_.head_dim},
          .k = k_ ? k_->data : nullptr,
          .v = v_ ? v_->data : nullptr};
}

void AttentionRun::Append(Rows& rows, const Sequence& sequence, const std::vector<int32_t>& pages,
                          const std::vector<int32_t>& slots) const {
  const size_t width =
      static_cast<size_t>(scenario_.heads + 2 * scenario_.kv_heads) * scenario_.head_dim;
  const auto begin = static_cast<int32_t>(rows.slots.size());
  for (const int32_t slot : slots) {
    const std::vector<float> values = Normals(width, sequence.id * 100003 + slot);
    rows.qkv.insert(rows.qkv.end(), values.begin(), values.end());
    const int32_t half = scenario_.rotary_dim / 2;
    for (int32_t i = 0; i < 2 * half; ++i) {
      const double angle = slot * std::pow(10000.0, -double(i % half) / half);
      rows.cos_sin.push_back(static_cast<float>(i < half ? std::cos(angle) : std::sin(angle)));
    }
    rows.slots.push_back(slot);
  }
  rows.groups.push_back({.row_begin = begin,
                         .row_end = static_cast<int32_t>(rows.slots.size()),
                         .pages = pages,
                         .mask = {.rule = sequence.rule,
                                  .block = sequence.block,
                                  .slots = sequence.visible,
                                  .bits = sequence.bits}});
}

void AttentionRun::Store(Rows& rows, float* qkv) {
  const Status status =
      device_.RotateAndStore({.rows = static_cast<int64_t>(rows.slots.size()),
                              .qkv = qkv,
                              .heads = scenario_.heads,
                              .q_norm = scenario_.norms ? q_norm_.data() : nullptr,
                              .k_norm = scenario_.norms ? k_norm_.data() : nullptr,
                              .norm_eps = 1e-6f,
                              .rotary_dim = scenario_.rotary_dim,
                              .cos_sin = rows.cos_sin.data(),
                              .slots = rows.slots,
                              .groups = rows.groups,
                              .kv = kv()});
  TESSERA_CHECK(status.ok());
}

void AttentionRun::StoreContext(int32_t chunk) {
  for (size_t i = 0; i < pages_.size(); ++i) {
    const Sequence& sequence = scenario_.sequences[i];
    for (int32_t begin = 0; begin < sequence.context; begin += chunk) {
      Rows rows;
      Append(rows, sequence, pages_[i], Slots(begin, std::min(begin + chunk, sequence.context)));
      Store(rows, rows.qkv.data());
    }
  }
}

std::vector<float> AttentionRun::Forward(size_t misalign) {
  Rows rows;
  for (size_t i = 0; i < pages_.size(); ++i) {
    Append(rows, scenario_.sequences[i], pages_[i], scenario_.sequences[i].slots);
  }
  Floats qkv(rows.qkv, misalign);
  Store(rows, qkv.data());
  const size_t row_width = static_cast<size_t>(scenario_.heads) * scenario_.head_dim;
  const size_t stride = row_width + 2 * scenario_.kv_heads * scenario_.head_dim;
  q_.clear();
  for (size_t row = 0; row < rows.slots.size(); ++row) {
    q_.insert(q_.end(), qkv.data() + row * stride, qkv.data() + row * stride + row_width);
  }
  Floats out(rows.slots.size() * row_width, misalign);
  const Status status =
      device_.Attention({.qkv = qkv.data(),
                         .heads = scenario_.heads,
                         .scale = 1 / std::sqrt(static_cast<float>(scenario_.head_dim)),
                         .slots = rows.slots,
                         .groups = rows.groups,
                         .kv = kv(),
                         .out = out.data()});
  TESSERA_CHECK(status.ok());
  TESSERA_CHECK(out.GuardsIntact());
  return out.values();
}

void AttentionRun::Copy(size_t sequence, const std::vector<std::pair<int32_t, int32_t>>& moves) {
  TESSERA_CHECK(device_.KvCopy({.kv = kv(), .pages = pages_[sequence], .moves = moves}).ok());
}

}  // namespace tessera::ops_test
