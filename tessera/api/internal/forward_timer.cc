#include "tessera/api/internal/forward_timer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "tessera/base/rng.h"
#include "tessera/kv/kv_cache.h"

namespace tessera::api {
namespace {

using Clock = std::chrono::steady_clock;

Status Check(const ForwardShape& shape, int32_t repeats, const ops::ModelTraits& traits) {
  constexpr int32_t kMaxRows = 1 << 16;
  if (shape.sequences < 1 || shape.rows < 1 || shape.keys < 0 || repeats < 1 ||
      shape.keys > traits.max_positions - shape.rows || shape.sequences > kMaxRows / shape.rows) {
    return InvalidArgument(
        "{} sequences of {} rows after {} keys, {} repeats; accepted: at least one sequence, row "
        "and repeat, at most {} rows in all and {} positions per sequence",
        shape.sequences, shape.rows, shape.keys, repeats, kMaxRows, traits.max_positions);
  }
  return OkStatus();
}

// Fills every page, whatever its layout, with numbers in [-1, 1]: what the memory held before may
// be no numbers, or zeros, with which a GPU computes faster.
Status FillCache(ops::Device& device, kv::KvCache& kv) {
  constexpr uint32_t kPeriod = 1 << 12;
  const ops::KvFormat format = kv.layer(0).format;
  std::vector<std::byte> plane(
      static_cast<size_t>(device.KvPageBytes(format) * kv.pool().capacity()));
  const auto fill = [&]<typename T>(T convert) {
    std::array<decltype(convert(0.0f)), kPeriod> values;
    for (uint32_t i = 0; i < kPeriod; ++i) {
      const double u = Uniform({.seed = 2}, RngPurpose::kWeights, i);
      values[i] = convert(static_cast<float>(2 * u - 1));
    }
    for (size_t done = 0; done < plane.size(); done += sizeof(values)) {
      std::memcpy(plane.data() + done, values.data(),
                  std::min(sizeof(values), plane.size() - done));
    }
  };
  switch (format.type) {
    case ops::KvType::kF32: fill([](float value) { return value; }); break;
    case ops::KvType::kBF16: fill([](float value) { return BF16FromFloat(value); }); break;
    // Four of these bytes are a number below one, where scales lie.
    case ops::KvType::kInt8: fill([](float value) { return static_cast<int8_t>(56 + 7 * value); });
  }
  for (int32_t i = 0; i < kv.num_layers(); ++i) {
    const ops::KvLayer layer = kv.layer(i);
    TESSERA_RETURN_IF_ERROR(device.Write(layer.k, plane.data(), plane.size()));
    TESSERA_RETURN_IF_ERROR(device.Write(layer.v, plane.data(), plane.size()));
  }
  return OkStatus();
}

// A forward's arrays, of all sequences one after the other.
struct Rows {
  std::vector<TokenId> tokens;
  std::vector<int32_t> positions, out_rows;
  std::vector<ops::RowRequest> requests;
};

Rows MakeRows(const ForwardShape& shape, const ops::ModelTraits& traits,
              const ops::SamplingSpec& sampling) {
  Rows rows;
  for (int32_t i = 0; i < shape.sequences * shape.rows; ++i) {
    rows.tokens.push_back(static_cast<TokenId>((i * 7919LL + 13) % traits.vocab_size));
    rows.positions.push_back(shape.keys + i % shape.rows);
    rows.out_rows.push_back(i);
    rows.requests.push_back({.row = i, .sampling = &sampling, .key = {}});
  }
  return rows;
}

}  // namespace

ops::MaskSpec OwnMask(const ops::ModelTraits& traits, std::span<const ops::SlotRange> slots) {
  ops::MaskSpec mask{.rule = ops::MaskRule::kFull, .block = 0, .slots = slots, .bits = {}};
  if (traits.attention == ops::AttentionKind::kCausal) mask.rule = ops::MaskRule::kCausal;
  if (traits.attention == ops::AttentionKind::kBlockCausal) {
    mask.rule = ops::MaskRule::kBlockCausal;
    mask.block = traits.block;
  }
  return mask;
}

Result<ForwardTiming> TimeForward(models::Decoder& model, ops::Device& device,
                                  const ForwardShape& shape, int32_t repeats) {
  TESSERA_RETURN_IF_ERROR(Check(shape, repeats, model.traits()));
  const int32_t end = shape.keys + shape.rows;
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<kv::KvCache> kv,
                           model.MakeKvCache(shape.sequences * ((end - 1) / ops::kPageRows + 1)));
  TESSERA_RETURN_IF_ERROR(FillCache(device, *kv));
  const ops::SlotRange slots = {0, end};
  std::vector<kv::PageTable> pages;
  std::vector<ops::AttentionGroup> groups;
  for (int32_t i = 0; i < shape.sequences; ++i) {
    pages.emplace_back(kv->pool());
    TESSERA_RETURN_IF_ERROR(pages.back().Reserve(end));
    groups.push_back({.row_begin = i * shape.rows,
                      .row_end = (i + 1) * shape.rows,
                      .pages = pages.back().pages(),
                      .mask = OwnMask(model.traits(), {&slots, 1})});
  }
  const ops::SamplingSpec sampling;
  const Rows rows = MakeRows(shape, model.traits(), sampling);
  const models::ForwardInput input = {.tokens = rows.tokens,
                                      .positions = rows.positions,
                                      .slots = rows.positions,
                                      .groups = groups,
                                      .out_rows = rows.out_rows};
  std::vector<ops::RowStats> stats(rows.requests.size());
  std::vector<double> seconds;
  for (int32_t repeat = 0; repeat <= repeats; ++repeat) {  // the first one warms up
    const Clock::time_point begin = Clock::now();
    TESSERA_RETURN_IF_ERROR(model.Forward(input, *kv, rows.requests, stats));
    const Clock::time_point done = Clock::now();
    if (repeat > 0) seconds.push_back(std::chrono::duration<double>(done - begin).count());
  }
  const auto middle = seconds.begin() + static_cast<int64_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return ForwardTiming{.seconds = *middle,
                       .weight_bytes = model.weight_bytes_read(),
                       .kv_bytes = kv->bytes_per_slot() * shape.sequences * end};
}

}  // namespace tessera::api
