#include "tessera/engine/batch.h"

#include <algorithm>

namespace tessera::engine {

void Batch::Clear() {
  tokens_.clear();
  positions_.clear();
  slots_.clear();
  groups_.clear();
  out_rows_.clear();
  requests_.clear();
  stats_.clear();
  stats_begin_.clear();
  keep_hidden_ = joint_ = false;
}

// Rows that several predictions read reach the head once.
int32_t Batch::OutIndex(int32_t row) {
  const auto it = std::find(out_rows_.begin(), out_rows_.end(), row);
  if (it != out_rows_.end()) return static_cast<int32_t>(it - out_rows_.begin());
  out_rows_.push_back(row);
  return static_cast<int32_t>(out_rows_.size()) - 1;
}

void Batch::Add(const Sequence& sequence) {
  const decode::StepPlan& plan = sequence.plan();
  const int32_t first = rows();
  keep_hidden_ = keep_hidden_ || plan.keep_hidden;
  joint_ = plan.kind == decode::ForwardKind::kJoint;
  tokens_.insert(tokens_.end(), plan.tokens.begin(), plan.tokens.end());
  positions_.insert(positions_.end(), plan.positions.begin(), plan.positions.end());
  slots_.insert(slots_.end(), plan.slots.begin(), plan.slots.end());
  for (const decode::PlanGroup& group : plan.groups) {
    groups_.push_back(
        {.row_begin = first + group.row_begin,
         .row_end = first + group.row_end,
         .pages = sequence.pages(),
         .mask = {
             .rule = group.rule, .block = group.block, .slots = group.keys, .bits = group.bits}});
  }
  stats_begin_.push_back(requests_.size());
  for (const decode::OutRow& out : plan.out) {
    requests_.push_back(
        {.row = OutIndex(first + out.row),
         .guidance_row = out.guidance_row < 0 ? -1 : OutIndex(first + out.guidance_row),
         .guidance_scale = plan.guidance_scale,
         .sampling = plan.sampling,
         .key = {.seed = sequence.seed(), .position = out.position, .step = plan.noise_step},
         .history = std::span(plan.history).first(static_cast<size_t>(out.history)),
         .probe = out.probe.empty() ? plan.probe : out.probe});
  }
  stats_.resize(requests_.size());
}

models::ForwardInput Batch::Input() const {
  return {.tokens = tokens_,
          .positions = positions_,
          .slots = slots_,
          .groups = groups_,
          .out_rows = out_rows_,
          .keep_hidden = keep_hidden_,
          .joint = joint_};
}

std::span<const ops::RowStats> Batch::StatsOf(size_t index) const {
  const size_t begin = stats_begin_[index];
  const size_t end = index + 1 < stats_begin_.size() ? stats_begin_[index + 1] : stats_.size();
  return std::span(stats_).subspan(begin, end - begin);
}

}  // namespace tessera::engine
