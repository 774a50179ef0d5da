#include "tessera/decode/diffusion/diffusion.h"

#include <algorithm>

namespace tessera::decode {
namespace {

int32_t CountUndecided(const SequenceView& view, int32_t begin, int32_t end) {
  int32_t count = 0;
  for (int32_t position = begin; position < end; ++position) count += !view.is_committed(position);
  return count;
}

}  // namespace

const std::vector<OptionSpec>& DiffusionOptions() {
  static const std::vector<OptionSpec> specs = {
      FloatOption("guidance", 0, 0, 100,
                  "classifier-free guidance against the masked prompt (LLaDA); doubles the rows"),
      ChoiceOption("eos", "free", {"free", "last", "never"},
                   "end-of-text: like any token, only when nothing else is left, or never"),
      ChoiceOption("confidence", "auto", {"auto", "plain", "filtered"},
                   "probability of the plain softmax (LLaDA) or after temperature and filters "
                   "(Dream, SDAR); auto: as the model's authors do"),
  };
  return specs;
}

DiffusionStrategy::DiffusionStrategy(const ModelTraits& traits, const DiffusionConfig& config,
                                     ops::SamplingSpec sampling, std::unique_ptr<CommitRule> commit,
                                     std::unique_ptr<CachePolicy> cache,
                                     std::unique_ptr<CanvasPolicy> canvas)
    : traits_(traits),
      config_(config),
      sampling_(std::move(sampling)),
      commit_(std::move(commit)),
      cache_(std::move(cache)),
      canvas_(std::move(canvas)) {
  sampling_.banned.push_back(traits_.mask_id);
  if (config_.end_of_text == EndOfText::kNever) {
    sampling_.suppressed.insert(sampling_.suppressed.end(), traits_.stop_ids.begin(),
                                traits_.stop_ids.end());
  }
}

Result<int32_t> DiffusionStrategy::BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) {
  return canvas_->BeginCanvas(prompt_length, max_new_tokens);
}

bool DiffusionStrategy::IsStop(TokenId token) const {
  return std::find(traits_.stop_ids.begin(), traits_.stop_ids.end(), token) !=
         traits_.stop_ids.end();
}

void DiffusionStrategy::AddRows(const SequenceView& view, const CachePlan& cache,
                                StepPlan* plan) const {
  const auto add = [&](int32_t position) {
    plan->tokens.push_back(view.tokens[static_cast<size_t>(position)]);
    plan->positions.push_back(position);
    plan->slots.push_back(position);
  };
  // A window whose first candidate is predicted by the row before it takes that row along: exact,
  // unlike committing that position blindly (methods: logit shift, workaround (a)).
  const bool needs_left = cache.predict == Predict::kWindow && cache.rows.begin > 0 &&
                          traits_.shifted_logits && !view.is_committed(cache.rows.begin);
  if (needs_left) add(cache.rows.begin - 1);
  for (int32_t position = cache.rows.begin; position < cache.rows.end; ++position) add(position);

  const bool block_causal = traits_.attention == ops::AttentionKind::kBlockCausal;
  plan->groups.push_back({.row_begin = 0,
                          .row_end = plan->rows(),
                          .rule = block_causal ? ops::MaskRule::kBlockCausal : ops::MaskRule::kFull,
                          .block = traits_.block,
                          .keys = cache.keys,
                          .bits = {}});
}

// Doubles the plan: the same rows again with every prompt token masked, in slots of their own.
void DiffusionStrategy::AddGuidanceTwin(const SequenceView& view, StepPlan* plan) const {
  int32_t offset = view.canvas();
  if (traits_.block > 0) offset = (offset + traits_.block - 1) / traits_.block * traits_.block;
  const int32_t rows = plan->rows();
  for (int32_t row = 0; row < rows; ++row) {
    const int32_t position = plan->positions[static_cast<size_t>(row)];
    const TokenId token = plan->tokens[static_cast<size_t>(row)];
    plan->tokens.push_back(position < view.prompt_length ? traits_.mask_id : token);
    plan->positions.push_back(position);
    plan->slots.push_back(position + offset);
  }
  PlanGroup twin = plan->groups.front();
  twin.row_begin = rows;
  twin.row_end = 2 * rows;
  for (SlotRange& range : twin.keys) range = {range.begin + offset, range.end + offset};
  plan->groups.push_back(std::move(twin));
  for (OutRow& out : plan->out) out.guidance_row = out.row + rows;
  plan->guidance_scale = config_.guidance;
}

Result<StepPlan> DiffusionStrategy::Plan(const SequenceView& view, const StepBudget&) {
  const Window window = canvas_->Next(view);
  if (view.step == 0) {
    TESSERA_RETURN_IF_ERROR(
        commit_->Begin(CountUndecided(view, 0, view.canvas()), window.num_windows));
  }
  const bool new_window = window != window_;
  if (new_window) {
    window_ = window;
    window_step_ = 0;
    window_undecided_ = CountUndecided(view, window.begin, window.end);
  }
  const CachePlan cache = cache_->Plan(view, window, new_window);

  StepPlan plan;
  plan.kind = cache.kind;
  plan.sampling = &sampling_;
  plan.noise_step = view.step;
  if (config_.end_of_text == EndOfText::kLast) plan.probe = traits_.stop_ids;
  AddRows(view, cache, &plan);

  predict_ = cache.predict;
  const int32_t first_row = plan.positions.front();
  const int32_t first = FirstUndecided(view);
  const int32_t end = predict_ == Predict::kWindow       ? window.end
                      : predict_ == Predict::kFirstToken ? first + 1
                                                         : first;
  for (int32_t position = first; position < end; ++position) {
    if (view.is_committed(position)) continue;
    plan.out.push_back({.row = PredictorOf(position) - first_row,
                        .position = position,
                        .guidance_row = -1,
                        .history = 0});
  }
  if (config_.guidance > 0) AddGuidanceTwin(view, &plan);
  return plan;
}

Result<StepOutcome> DiffusionStrategy::Commit(const SequenceView& view, const StepPlan& plan,
                                              std::span<const RowStats> stats) {
  cache_->Ran(view);
  StepOutcome outcome;
  outcome.stored_kv = predict_ != Predict::kWindow;
  if (plan.out.empty()) return outcome;

  std::vector<Candidate> candidates;
  candidates.reserve(stats.size());
  for (size_t i = 0; i < stats.size(); ++i) {
    Candidate candidate{.position = plan.out[i].position,
                        .token = stats[i].sampled,
                        .confidence = stats[i].p_sampled,
                        .stats = &stats[i]};
    if (config_.end_of_text == EndOfText::kLast) {
      // LLaDA takes the softmax without the end-of-text ids, so other tokens gain.
      float stop = 0;
      for (const float p : stats[i].p_probe) stop += p;
      candidate.confidence = IsStop(candidate.token) ? 0 : candidate.confidence / (1 - stop);
    }
    candidates.push_back(candidate);
  }

  std::vector<int32_t> chosen;
  if (predict_ == Predict::kFirstToken) {
    chosen.push_back(0);
  } else {
    commit_->Select({.candidates = candidates,
                     .window_step = window_step_,
                     .window_undecided = window_undecided_,
                     .window_length = window_.end - window_.begin,
                     .num_windows = window_.num_windows,
                     .canvas_undecided = CountUndecided(view, 0, view.canvas()),
                     .key = {.seed = view.seed, .position = 0, .step = view.step}},
                    &chosen);
    ++window_step_;
  }
  std::sort(chosen.begin(), chosen.end());
  for (const int32_t index : chosen) {
    if (index < 0 || index >= static_cast<int32_t>(candidates.size())) {
      return Internal("the commit rule chose candidate {} of {}", index, candidates.size());
    }
    const Candidate& candidate = candidates[static_cast<size_t>(index)];
    outcome.commits.push_back({.position = candidate.position,
                               .token = candidate.token,
                               .confidence = candidate.stats->p_sampled});
  }
  return outcome;
}

}  // namespace tessera::decode
