#include "tessera/decode/diffusion/step_layout.h"

#include <algorithm>

namespace tessera::decode {

void StepLayout::Begin(int32_t canvas) {
  stride_ = canvas;
  if (traits_.block > 0) stride_ = (stride_ + traits_.block - 1) / traits_.block * traits_.block;
  stored_.assign(static_cast<size_t>(canvas), -1);
}

void StepLayout::AddRows(const SequenceView& view, const CachePlan& cache, const RowSet& hidden,
                         const std::vector<int32_t>& wanted, StepPlan* plan) {
  keys_ = cache.keys.Minus(hidden);
  rows_ = cache.rows.Minus(hidden);
  // A position whose predictor is not among the rows takes it along: exact, unlike committing that
  // position blindly (methods: logit shift, workaround (a)).
  for (const int32_t position : wanted) rows_.Add(PredictorOf(position));
  RowSet outdated;
  for (const int32_t position : keys_.Minus(rows_).positions()) {
    if (stored_[static_cast<size_t>(position)] != view.tokens[static_cast<size_t>(position)]) {
      outdated.Add(position);
    }
  }
  rows_.Add(outdated);

  plan->positions = rows_.positions();
  plan->slots = plan->positions;
  for (const int32_t position : plan->positions) {
    plan->tokens.push_back(view.tokens[static_cast<size_t>(position)]);
  }
  row_tokens_ = plan->tokens;
  plan->reused = keys_.Minus(rows_).size();
  const bool block_causal = traits_.attention == ops::AttentionKind::kBlockCausal;
  plan->groups.push_back({.row_begin = 0,
                          .row_end = plan->rows(),
                          .rule = block_causal ? ops::MaskRule::kBlockCausal : ops::MaskRule::kFull,
                          .block = traits_.block,
                          .keys = keys_.ranges(),
                          .bits = {}});
  for (const int32_t position : wanted) {
    const auto row =
        std::lower_bound(plan->positions.begin(), plan->positions.end(), PredictorOf(position));
    plan->out.push_back({.row = static_cast<int32_t>(row - plan->positions.begin()),
                         .position = position,
                         .guidance_row = -1,
                         .history = 0});
  }
}

void StepLayout::AddDecided(const SequenceView& view, const std::vector<int32_t>& positions,
                            StepPlan* plan) const {
  for (const int32_t position : positions) {
    const int32_t predictor = PredictorOf(position);
    if (!rows_.Contains(predictor)) continue;
    const auto row = std::lower_bound(plan->positions.begin(), plan->positions.end(), predictor);
    plan->out.push_back({.row = static_cast<int32_t>(row - plan->positions.begin()),
                         .position = position,
                         .guidance_row = -1,
                         .history = 0,
                         .probe = {view.tokens[static_cast<size_t>(position)]}});
  }
}

void StepLayout::AddGuidanceTwin(const SequenceView& view, float scale, StepPlan* plan) const {
  const int32_t rows = plan->rows();
  for (int32_t row = 0; row < rows; ++row) {
    const int32_t position = plan->positions[static_cast<size_t>(row)];
    const TokenId token = plan->tokens[static_cast<size_t>(row)];
    plan->tokens.push_back(position < view.prompt_length ? traits_.mask_id : token);
    plan->positions.push_back(position);
    plan->slots.push_back(position + stride_);
  }
  PlanGroup twin = plan->groups.front();
  twin.row_begin = rows;
  twin.row_end = 2 * rows;
  for (SlotRange& range : twin.keys) range = {range.begin + stride_, range.end + stride_};
  plan->groups.push_back(std::move(twin));
  plan->reused *= 2;
  for (OutRow& out : plan->out) out.guidance_row = out.row + rows;
  plan->guidance_scale = scale;
}

void StepLayout::AddShadow(const SequenceView& view, const Shadow& shadow,
                           const std::vector<int32_t>& positions, StepPlan* plan) const {
  const int32_t begin = shadow.positions.begin;
  const int32_t count = shadow.positions.end - begin;
  const bool block_causal = traits_.attention == ops::AttentionKind::kBlockCausal;
  const int32_t first_row = plan->rows();
  for (int32_t half = 0; half < (shadow.twin ? 2 : 1); ++half) {
    const int32_t slot = shadow.slot + half * count;
    for (int32_t i = 0; i < count; ++i) {
      const int32_t position = begin + i;
      // Rows of a block-causal model see up to the end of their block, so do their shadows.
      const int32_t end = block_causal ? (position / traits_.block + 1) * traits_.block : stride_;
      PlanGroup group;  // every listed key
      group.row_begin = plan->rows();
      group.row_end = group.row_begin + 1;
      RowSet keys = keys_.Intersect(RowSet(0, end)).Minus(RowSet(position, position + 1));
      for (const SlotRange& range : keys.ranges()) {
        group.keys.push_back({range.begin + half * stride_, range.end + half * stride_});
      }
      group.keys.push_back({slot, slot + std::min(count, end - begin)});
      plan->groups.push_back(std::move(group));
      plan->tokens.push_back(traits_.mask_id);
      plan->positions.push_back(position);
      plan->slots.push_back(slot + i);
    }
  }
  for (const int32_t position : positions) {
    const int32_t row = first_row + position - begin;
    plan->out.push_back({.row = row,
                         .position = position,
                         .guidance_row = shadow.twin ? row + count : -1,
                         .history = 0,
                         .probe = {view.tokens[static_cast<size_t>(position)]}});
  }
}

void StepLayout::Ran() {
  size_t index = 0;
  for (const int32_t position : rows_.positions()) {
    stored_[static_cast<size_t>(position)] = row_tokens_[index++];
  }
}

}  // namespace tessera::decode
