#include "tessera/decode/causal.h"

#include <algorithm>

namespace tessera::decode {

CausalStrategy::CausalStrategy(const ModelTraits& traits, ops::SamplingSpec sampling,
                               std::unique_ptr<Drafter> drafter)
    : traits_(traits), sampling_(std::move(sampling)), drafter_(std::move(drafter)) {}

Result<int32_t> CausalStrategy::BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) {
  if (prompt_length == 0) {
    return InvalidArgument("the prompt is empty; a causal model needs at least one token");
  }
  (void)max_new_tokens;
  return prompt_length;  // the canvas grows with every commit
}

Result<StepPlan> CausalStrategy::Plan(const SequenceView& view, const StepBudget& budget) {
  const int32_t length = view.canvas();
  const int32_t rows = std::min(length - stored_, std::max(budget.max_rows, 1));
  const bool reaches_end = stored_ + rows == length;

  StepPlan plan;
  plan.kind = view.step == 0 || !reaches_end ? ForwardKind::kFull : ForwardKind::kWindow;
  plan.sampling = &sampling_;
  plan.tokens.assign(view.tokens.begin() + stored_, view.tokens.begin() + stored_ + rows);
  drafted_ = 0;
  if (reaches_end && drafter_ != nullptr) {
    // One token always follows the accepted drafts, so leave room for it.
    const int32_t room = view.output_end - length - 1;
    const std::vector<TokenId> drafts =
        room > 0 ? drafter_->Propose(view.tokens, room) : std::vector<TokenId>();
    drafted_ = static_cast<int32_t>(drafts.size());
    plan.tokens.insert(plan.tokens.end(), drafts.begin(), drafts.end());
  }
  const int32_t end = stored_ + plan.rows();
  for (int32_t position = stored_; position < end; ++position) {
    plan.positions.push_back(position);
    plan.slots.push_back(position);
  }
  plan.groups.push_back({.row_begin = 0,
                         .row_end = plan.rows(),
                         .rule = ops::MaskRule::kCausal,
                         .block = 0,
                         .keys = {{0, end}},
                         .bits = {}});
  if (!reaches_end) return plan;

  if (sampling_.repetition_penalty != 1) {
    plan.history.assign(view.tokens.begin(), view.tokens.end());
    plan.history.insert(plan.history.end(), plan.tokens.end() - drafted_, plan.tokens.end());
  }
  for (int32_t i = 0; i <= drafted_; ++i) {
    const int32_t row = plan.rows() - 1 - drafted_ + i;
    plan.out.push_back({.row = row,
                        .position = length + i,
                        .guidance_row = -1,
                        .history = plan.history.empty() ? 0 : length + i});
  }
  return plan;
}

Result<StepOutcome> CausalStrategy::Commit(const SequenceView& view, const StepPlan& plan,
                                           std::span<const RowStats> stats) {
  StepOutcome outcome;
  outcome.stored_kv = true;
  if (plan.out.empty()) {  // a prefill chunk
    stored_ += plan.rows();
    return outcome;
  }
  outcome.drafted = drafted_;
  for (size_t i = 0; i < stats.size(); ++i) {
    const TokenId chosen = stats[i].sampled;
    outcome.commits.push_back(
        {.position = plan.out[i].position, .token = chosen, .confidence = stats[i].p_sampled});
    const size_t draft_row = static_cast<size_t>(plan.out[i].row) + 1;
    if (draft_row >= plan.tokens.size() || plan.tokens[draft_row] != chosen) break;
    ++outcome.accepted;
  }
  // Rows of the text so far and of the accepted drafts hold the right tokens; the newest committed
  // token has no K/V yet, and slots past it are overwritten by the next plan.
  stored_ = view.canvas() + outcome.accepted;
  return outcome;
}

}  // namespace tessera::decode
