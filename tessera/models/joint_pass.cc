// The layer for joint sampling (ADJUST, arXiv 2509.22738): keeping what a forward found, and passes
// that correct it. K/V of the layer are the last of the cache.
#include "tessera/models/decoder.h"

namespace tessera::models {
namespace {

float* Floats(const std::unique_ptr<ops::DeviceBuffer>& buffer) {
  return static_cast<float*>(buffer->data);
}

// Row of every page's rows, one after the other, that holds each row's slot.
std::vector<int32_t> PhysicalRows(const ForwardInput& input) {
  std::vector<int32_t> physical(input.tokens.size());
  for (const ops::AttentionGroup& group : input.groups) {
    for (int32_t row = group.row_begin; row < group.row_end; ++row) {
      const int32_t slot = input.slots[static_cast<size_t>(row)];
      physical[static_cast<size_t>(row)] =
          group.pages[static_cast<size_t>(slot / ops::kPageRows)] * ops::kPageRows +
          slot % ops::kPageRows;
    }
  }
  return physical;
}

}  // namespace

// Slots mostly follow one another, so a sequence is a few copies.
Status Decoder::KeepHidden(const ForwardInput& input) {
  const auto rows = static_cast<int32_t>(input.tokens.size());
  TESSERA_RETURN_IF_ERROR(device_.RmsNorm({.rows = rows,
                                           .width = config_.width,
                                           .x = Floats(workspace_.hidden),
                                           .weight = Floats(final_norm_),
                                           .eps = static_cast<float>(config_.norm_eps),
                                           .out = Floats(workspace_.normed)}));
  const std::vector<int32_t> physical = PhysicalRows(input);
  std::vector<int32_t> run;
  for (int32_t row = 0; row < rows; ++row) {
    run.push_back(row);
    const auto at = static_cast<size_t>(row);
    if (row + 1 < rows && physical[at + 1] == physical[at] + 1) continue;
    const int64_t first = physical[static_cast<size_t>(run.front())];
    TESSERA_RETURN_IF_ERROR(
        device_.GatherRows({.rows = run,
                            .width = config_.width,
                            .x = Floats(workspace_.normed),
                            .out = Floats(joint_->kept) + first * config_.width}));
    run.clear();
  }
  return OkStatus();
}

Status Decoder::ForwardJoint(const ForwardInput& input, const kv::KvCache& kv) {
  const auto rows = static_cast<int64_t>(input.tokens.size());
  TESSERA_RETURN_IF_ERROR(ReserveWorkspace(rows));
  TESSERA_RETURN_IF_ERROR(FillRotary(input.positions));
  TESSERA_RETURN_IF_ERROR(device_.GatherRows({.rows = PhysicalRows(input),
                                              .width = config_.width,
                                              .x = Floats(joint_->kept),
                                              .out = Floats(workspace_.normed)}));
  TESSERA_RETURN_IF_ERROR(device_.Embed(
      {.table = embedding_.get(), .tokens = input.tokens, .out = Floats(joint_->embedded)}));
  TESSERA_RETURN_IF_ERROR(device_.Linear({.rows = rows,
                                          .x = Floats(workspace_.normed),
                                          .weight = joint_->hidden.get(),
                                          .bias = nullptr,
                                          .y = Floats(workspace_.hidden)}));
  TESSERA_RETURN_IF_ERROR(device_.Linear({.rows = rows,
                                          .x = Floats(joint_->embedded),
                                          .weight = joint_->token.get(),
                                          .bias = nullptr,
                                          .y = Floats(workspace_.hidden),
                                          .accumulate = true}));
  TESSERA_RETURN_IF_ERROR(
      RunAttention(joint_->layer, input, kv.layer(static_cast<int32_t>(config_.layers))));
  TESSERA_RETURN_IF_ERROR(RunFfn(joint_->layer, rows));
  return device_.GatherRows({.rows = input.out_rows,
                             .width = config_.width,
                             .x = Floats(workspace_.hidden),
                             .out = Floats(workspace_.normed)});
}

}  // namespace tessera::models
