#include "tessera/engine/memory_need.h"

#include <algorithm>

namespace tessera::engine {
namespace {

constexpr int64_t kPositions = 4096;
constexpr int64_t kFfnRows = 512;  // as models/decoder.cc evaluates at once

// One head of one row of K or V.
int64_t HeadBytes(ops::KvType type, int64_t head_dim) {
  switch (type) {
    case ops::KvType::kF32: return head_dim * 4;
    case ops::KvType::kBF16: return head_dim * 2;
    case ops::KvType::kInt8: return head_dim + 4;  // and a scale
  }
  return 0;
}

}  // namespace

double WeightBytes(int64_t parameters, const ops::WeightFormat& format) {
  const auto count = static_cast<double>(parameters);
  switch (format.type) {
    case ops::WeightType::kF32: return count * 4;
    case ops::WeightType::kBF16: return count * 2;
    case ops::WeightType::kF8: return count;
    // Scales add up to an eighth to int4 codes, a sixteenth to int8.
    case ops::WeightType::kInt8: return count * 1.0625;
    case ops::WeightType::kInt4: return count * 0.5625;
  }
  return 0;
}

MemoryNeed EstimateMemory(const models::DecoderConfig& config, double weights, ops::KvType kv_type,
                          const ForwardSize& forward) {
  const int64_t context = std::min<int64_t>(config.traits.max_positions, kPositions);
  MemoryNeed need = {.weights = weights};
  need.positions = forward.positions > 0 ? forward.positions : context;
  const auto positions = static_cast<double>(need.positions);
  const auto rows = static_cast<double>(forward.rows > 0 ? forward.rows : context);
  const auto q = static_cast<double>(config.heads * config.head_dim);
  const auto kv = static_cast<double>(config.kv_heads * config.head_dim);
  const auto width = static_cast<double>(config.width);
  const auto ffn = static_cast<double>(config.ffn_width);
  const int64_t heads = 2 * config.layers * config.kv_heads;  // of a position, K and V
  need.keys_and_values =
      positions * static_cast<double>(heads * HeadBytes(kv_type, config.head_dim));
  need.activations = 4 * rows * (2 * width + 2 * q + 2 * kv) +
                     4 * 3 * ffn * std::min(rows, static_cast<double>(kFfnRows));
  return need;
}

Status CheckMemory(const MemoryNeed& need, const ops::DeviceMemoryInfo& memory,
                   std::string_view what, std::string_view device, std::string_view format) {
  if (memory.free == 0 || need.total() <= static_cast<double>(memory.free)) return OkStatus();
  constexpr double kGiB = 1 << 30;
  return ResourceExhausted(
      "{}: {:.1f} GiB are needed on {}, {:.1f} GiB are free: {:.1f} for the weights as {}, {:.1f} "
      "for keys and values of {} positions, {:.1f} for activations; less is needed by bf16, int8 "
      "and int4",
      what, need.total() / kGiB, device, static_cast<double>(memory.free) / kGiB,
      need.weights / kGiB, format, need.keys_and_values / kGiB, need.positions,
      need.activations / kGiB);
}

}  // namespace tessera::engine
