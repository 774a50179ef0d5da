#include "tessera/decode/diffusion/diffusion.h"

#include <algorithm>

namespace tessera::decode {

const std::vector<OptionSpec>& DiffusionOptions() {
  static const std::vector<OptionSpec> specs = {
      FloatOption("guidance", 0, 0, 100,
                  "classifier-free guidance against the masked prompt (LLaDA); doubles the rows"),
      ChoiceOption("eos", "free", {"free", "last", "never"},
                   "end-of-text: like any token, only when nothing else is left, or never"),
      ChoiceOption("confidence", "auto", {"auto", "plain", "filtered"},
                   "probability of the plain softmax (LLaDA) or after temperature and filters "
                   "(Dream, SDAR); auto: as the model's authors do"),
      IntOption("drift", 0, 0, DriftMeter::kMaxProbes,
                "rows that measure how far reused K/V have drifted; 0: off"),
      FloatOption("drift_refresh", 0, 0, 1,
                  "drift from which the next forward recomputes everything; 0: measure only"),
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
      canvas_(std::move(canvas)),
      layout_(traits),
      drift_(config.drift_probes, config.drift_refresh) {
  sampling_.top_n = std::max(sampling_.top_n, commit_->top_n());
  sampling_.banned.push_back(traits_.mask_id);
  if (config_.end_of_text == EndOfText::kNever) {
    sampling_.suppressed.insert(sampling_.suppressed.end(), traits_.stop_ids.begin(),
                                traits_.stop_ids.end());
  }
}

Result<int32_t> DiffusionStrategy::BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) {
  TESSERA_ASSIGN_OR_RETURN(const int32_t length,
                           canvas_->BeginCanvas(prompt_length, max_new_tokens));
  layout_.Begin(length);
  return length;
}

bool DiffusionStrategy::IsStop(TokenId token) const {
  return std::find(traits_.stop_ids.begin(), traits_.stop_ids.end(), token) !=
         traits_.stop_ids.end();
}

// Positions the planned forward predicts, ascending.
std::vector<int32_t> DiffusionStrategy::Wanted(const SequenceView& view,
                                               const CachePlan& cache) const {
  const int32_t first = FirstUndecided(view);
  int32_t end = window_.end;
  if (cache.predict == Predict::kNothing) end = first;
  if (cache.predict == Predict::kFirstToken && !window_.observed) end = first + 1;
  std::vector<int32_t> wanted;
  for (int32_t position = first; position < end; ++position) {
    if (view.is_committed(position)) continue;
    if (cache.predict == Predict::kListed && !cache.listed.Contains(position)) continue;
    wanted.push_back(position);
  }
  return wanted;
}

Result<StepPlan> DiffusionStrategy::Plan(const SequenceView& view, const StepBudget&) {
  Window window = canvas_->Next(view);
  if (view.step == 0) {
    TESSERA_RETURN_IF_ERROR(
        commit_->Begin(CountUndecided(view, 0, view.canvas()), window.num_windows));
  }
  const bool new_window = !window.SameAs(window_);
  window_ = std::move(window);
  if (new_window) {
    window_step_ = 0;
    window_undecided_ = CountUndecided(view, window_.begin, window_.end);
  }
  const CachePlan cache = cache_->Plan({.view = view,
                                        .window = window_,
                                        .new_window = new_window,
                                        .refresh = drift_.refresh_wanted()});
  predict_ = cache.predict;

  StepPlan plan;
  plan.kind = cache.kind;
  plan.sampling = &sampling_;
  plan.noise_step = view.step;
  if (config_.end_of_text == EndOfText::kLast) plan.probe = traits_.stop_ids;
  layout_.AddRows(view, cache, window_.hidden, Wanted(view, cache), &plan);
  for (OutRow& out : plan.out) {
    commit_->Probe(out.position, &out.probe);
    if (!out.probe.empty())
      out.probe.insert(out.probe.begin(), plan.probe.begin(), plan.probe.end());
  }
  if (config_.guidance > 0) layout_.AddGuidanceTwin(view, config_.guidance, &plan);
  drift_.AddTo(view,
               {.computed = layout_.rows(),
                .keys = layout_.keys(),
                .begin = window_.begin,
                .end = window_.end,
                .scratch = layout_.scratch_slot(config_.guidance > 0)},
               &plan);
  return plan;
}

Result<StepOutcome> DiffusionStrategy::Commit(const SequenceView& view, const StepPlan& plan,
                                              std::span<const RowStats> stats) {
  layout_.Ran();
  StepOutcome outcome;
  outcome.stored_kv = predict_ == Predict::kFirstToken || predict_ == Predict::kNothing;
  const size_t num_wanted = stats.size() - static_cast<size_t>(drift_.num_out());
  outcome.drift = drift_.Read(stats.subspan(num_wanted));
  stats = stats.first(num_wanted);
  if (stats.empty()) {
    cache_->Ran({.view = view, .candidates = {}, .commits = {}});
    return outcome;
  }

  std::vector<Candidate> candidates;
  candidates.reserve(stats.size());
  for (size_t i = 0; i < stats.size(); ++i) {
    Candidate candidate{.position = plan.out[i].position,
                        .token = stats[i].sampled,
                        .confidence = stats[i].p_sampled,
                        .probability = stats[i].p_sampled,
                        .stats = &stats[i],
                        .probed = std::span(stats[i].p_probe).subspan(plan.probe.size())};
    if (config_.end_of_text == EndOfText::kLast) {
      // LLaDA takes the softmax without the end-of-text ids, so other tokens gain.
      float stop = 0;
      for (size_t j = 0; j < plan.probe.size(); ++j) stop += stats[i].p_probe[j];
      candidate.confidence = IsStop(candidate.token) ? 0 : candidate.confidence / (1 - stop);
    }
    candidates.push_back(candidate);
  }

  const int32_t window_end = window_.end;
  canvas_->Observe(view, candidates, &window_);
  if (window_.end != window_end) {
    window_undecided_ = CountUndecided(view, window_.begin, window_.end);
    while (candidates.back().position >= window_.end) candidates.pop_back();
  }

  std::vector<int32_t> chosen;
  if (predict_ == Predict::kFirstToken) {
    chosen.push_back(0);
  } else {
    const CommitContext context{.candidates = candidates,
                                .window_step = window_step_,
                                .window_undecided = window_undecided_,
                                .window_length = window_.end - window_.begin,
                                .num_windows = window_.num_windows,
                                .canvas_undecided = CountUndecided(view, 0, view.canvas()),
                                .key = {.seed = view.seed, .position = 0, .step = view.step}};
    commit_->Adjust(context, candidates);
    for (Candidate& candidate : candidates) {
      // The rule may have replaced the token.
      const bool waits = config_.end_of_text == EndOfText::kLast && IsStop(candidate.token);
      if (waits) candidate.confidence = 0;
    }
    commit_->Select(context, &chosen);
    ++window_step_;
    canvas_->Adjust(view, candidates, &chosen);
  }
  std::sort(chosen.begin(), chosen.end());
  for (const int32_t index : chosen) {
    if (index < 0 || index >= static_cast<int32_t>(candidates.size())) {
      return Internal("the commit rule chose candidate {} of {}", index, candidates.size());
    }
    const Candidate& candidate = candidates[static_cast<size_t>(index)];
    outcome.commits.push_back({.position = candidate.position,
                               .token = candidate.token,
                               .confidence = candidate.probability});
  }
  cache_->Ran({.view = view, .candidates = candidates, .commits = outcome.commits});
  outcome.canvas_end = canvas_->EndAfter(view, candidates, outcome.commits);
  // A window that the canvas cuts short is still the same place.
  window_.end = std::min(window_.end, outcome.canvas_end);
  window_.block_end = std::min(window_.block_end, outcome.canvas_end);
  return outcome;
}

}  // namespace tessera::decode
