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
      IntOption("revisions", 16, 0, kMaxRevisions,
                "how often a position may be edited or taken back, then it stays; for rules that "
                "do so"),
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
      needs_(commit_->needs()),
      revisions_(config.revisions),
      layout_(traits),
      drift_(config.drift_probes, config.drift_refresh) {
  sampling_.top_n = std::max(sampling_.top_n, needs_.top_n);
  sampling_.banned.push_back(traits_.mask_id);
  if (config_.end_of_text == EndOfText::kNever) {
    sampling_.suppressed.insert(sampling_.suppressed.end(), traits_.stop_ids.begin(),
                                traits_.stop_ids.end());
  }
}

int32_t DiffusionStrategy::slots_per_position() const {
  return (config_.guidance > 0 ? 2 : 1) * (needs_.shadow_rows ? 2 : 1);
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

// The canvas says where to decode, except while the rule looks once more at a window that is
// decided, or fills in what it has taken back before the window.
Window DiffusionStrategy::NextWindow(const SequenceView& view) {
  const int32_t first = FirstUndecided(view);
  widened_ = needs_.revises == Reach::kCanvas && first < window_.end &&
             (widened_ || first < window_.begin);
  if (!hold_ && !widened_) return canvas_->Next(view);
  Window window = window_;
  window.observed = false;
  if (first < window.begin) {
    window.begin = window.block_begin =
        traits_.block > 0 ? first / traits_.block * traits_.block : first;
  }
  return window;
}

SlotRange DiffusionStrategy::Reachable() const {
  return {needs_.revises == Reach::kCanvas ? 0 : window_.begin, window_.end};
}

std::vector<int32_t> DiffusionStrategy::DecidedPositions(const SequenceView& view) const {
  std::vector<int32_t> positions;
  const SlotRange range = Reachable();
  for (int32_t position = range.begin; position < range.end; ++position) {
    const bool useless = needs_.revises == Reach::kCanvas && revisions_.Given(position);
    if (view.is_committed(position) && !useless) positions.push_back(position);
  }
  return positions;
}

// Out rows besides the candidates'.
void DiffusionStrategy::AddForRule(const SequenceView& view, StepPlan* plan) {
  num_candidates_ = plan->out.size();
  const bool guided = config_.guidance > 0;
  const bool asked = Predicts() && (needs_.decided_rows || needs_.shadow_rows);
  std::vector<int32_t> decided = asked ? DecidedPositions(view) : std::vector<int32_t>();
  if (needs_.decided_rows) layout_.AddDecided(view, decided, plan);
  num_decided_ = plan->out.size() - num_candidates_;
  if (guided) layout_.AddGuidanceTwin(view, config_.guidance, plan);
  // Shadows nobody asks for change nothing: no other row sees them.
  std::erase_if(decided, [&](int32_t position) {
    return position < window_.begin || revisions_.Given(position);
  });
  num_shadow_ = needs_.shadow_rows ? decided.size() : 0;
  if (num_shadow_ > 0) {
    layout_.AddShadow(view,
                      {.positions = {window_.begin, window_.end},
                       .slot = layout_.scratch_slot(guided) + DriftMeter::kMaxProbes,
                       .twin = guided},
                      decided, plan);
  }
  drift_.AddTo(view,
               {.computed = layout_.rows(),
                .keys = layout_.keys(),
                .begin = window_.begin,
                .end = window_.end,
                .scratch = layout_.scratch_slot(guided)},
               plan);
}

// Makes the plan a pass of the joint layer, if some are left of the last forward and it kept what
// the plan needs. Blocks do not share a forward; one that grows keeps it.
void DiffusionStrategy::TakeJointPass(bool moved, StepPlan* plan) {
  if (joint_left_ > 0 && !moved && layout_.rows().Minus(kept_).empty()) {
    --joint_left_;
    plan->kind = ForwardKind::kJoint;
    return;
  }
  joint_left_ = needs_.joint_passes;
  kept_ = layout_.rows();
  plan->keep_hidden = true;
}

Result<StepPlan> DiffusionStrategy::Plan(const SequenceView& view, const StepBudget&) {
  if (view.step == 0) revisions_.Begin(view);
  Window window = NextWindow(view);
  if (view.step == 0) {
    TESSERA_RETURN_IF_ERROR(commit_->Begin({.undecided = CountUndecided(view, 0, view.canvas()),
                                            .first_undecided = FirstUndecided(view),
                                            .num_windows = window.num_windows}));
  }
  const bool new_window = !window.SameAs(window_), moved = window.begin != window_.begin;
  window_ = std::move(window);
  if (new_window && !widened_) {
    window_step_ = 0;
    window_undecided_ = CountUndecided(view, window_.begin, window_.end);
  }
  CachePlan cache = cache_->Plan({.view = view,
                                  .window = window_,
                                  .new_window = new_window,
                                  .refresh = drift_.refresh_wanted()});
  predict_ = cache.predict;
  if (hold_ && Predicts()) cache.rows.Add(window_.begin, window_.end);

  StepPlan plan;
  plan.kind = cache.kind;
  plan.sampling = &sampling_;
  plan.noise_step = view.step;
  if (config_.end_of_text == EndOfText::kLast) plan.probe = traits_.stop_ids;
  layout_.AddRows(view, cache, window_.hidden, Wanted(view, cache), &plan);
  if (needs_.joint_passes > 0) TakeJointPass(moved, &plan);
  for (OutRow& out : plan.out) {
    commit_->Probe(out.position, &out.probe);
    if (!out.probe.empty())
      out.probe.insert(out.probe.begin(), plan.probe.begin(), plan.probe.end());
  }
  AddForRule(view, &plan);
  return plan;
}

std::vector<Candidate> DiffusionStrategy::Candidates(const StepPlan& plan,
                                                     std::span<const RowStats> stats) const {
  std::vector<Candidate> candidates;
  candidates.reserve(num_candidates_);
  for (size_t i = 0; i < num_candidates_; ++i) {
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
  return candidates;
}

// `stats` of decided positions, then of their shadows.
std::vector<Decided> DiffusionStrategy::DecidedStats(const SequenceView& view, const StepPlan& plan,
                                                     std::span<const RowStats> stats) const {
  std::vector<Decided> decided;
  size_t row = 0, shadow = num_decided_;
  const auto position_of = [&](size_t index) { return plan.out[num_candidates_ + index].position; };
  for (const int32_t position : DecidedPositions(view)) {
    Decided entry{.position = position,
                  .token = view.tokens[static_cast<size_t>(position)],
                  .placed = view.confidence[static_cast<size_t>(position)],
                  .given = revisions_.Given(position),
                  .fixed = revisions_.Fixed(position)};
    if (row < num_decided_ && position_of(row) == position) {
      entry.stats = &stats[row];
      entry.probability = stats[row++].p_probe.front();
    }
    if (shadow < num_decided_ + num_shadow_ && position_of(shadow) == position) {
      entry.shadow = stats[shadow++].p_probe.front();
    }
    decided.push_back(entry);
  }
  return decided;
}

// Asks the rule, and the canvas to correct it.
Status DiffusionStrategy::Choose(const CommitContext& context, const SequenceView& view,
                                 std::span<Candidate> candidates, StepOutcome* outcome) {
  std::vector<int32_t> chosen;
  Revision revision;
  if (predict_ == Predict::kFirstToken) {
    chosen.push_back(0);
  } else {
    if (!candidates.empty()) {
      commit_->Adjust(context, candidates);
      for (Candidate& candidate : candidates) {
        // The rule may have replaced the token.
        const bool waits = config_.end_of_text == EndOfText::kLast && IsStop(candidate.token);
        if (waits) candidate.confidence = 0;
      }
      commit_->Select(context, &chosen);
      canvas_->Adjust(view, candidates, &chosen);
    }
    if (needs_.revises != Reach::kNone) commit_->Revise(context, &chosen, &revision);
    ++window_step_;
  }
  std::sort(chosen.begin(), chosen.end());
  for (const int32_t index : chosen) {
    if (index < 0 || index >= static_cast<int32_t>(candidates.size())) {
      return Internal("the commit rule chose candidate {} of {}", index, candidates.size());
    }
    const Candidate& candidate = candidates[static_cast<size_t>(index)];
    outcome->commits.push_back({.position = candidate.position,
                                .token = candidate.token,
                                .confidence = candidate.probability});
  }
  if (config_.end_of_text == EndOfText::kLast) {  // a token that stands there is something else
    std::erase_if(revision.edits, [&](const Revision::Edit& edit) { return IsStop(edit.token); });
  }
  TESSERA_RETURN_IF_ERROR(revisions_.Apply(revision, context.decided, outcome));
  const bool changed = !outcome->commits.empty() || !revisions_.changed().empty();
  const int32_t begin = needs_.revises == Reach::kCanvas ? 0 : window_.begin;
  hold_ = revision.hold && changed && UndecidedAfter(view, *outcome, begin, window_.end) == 0;
  return OkStatus();
}

int32_t DiffusionStrategy::UndecidedAfter(const SequenceView& view, const StepOutcome& outcome,
                                          int32_t begin, int32_t end) {
  int32_t count = CountUndecided(view, begin, end);
  const auto inside = [&](int32_t position) { return position >= begin && position < end; };
  for (const Placement& commit : outcome.commits) count -= inside(commit.position);
  for (const int32_t position : outcome.remasks) count += inside(position);
  return count;
}

// Where text may still change after this step.
int32_t DiffusionStrategy::OpenFrom(const SequenceView& view, const StepOutcome& outcome) const {
  if (needs_.revises == Reach::kNone) return kAllFinal;
  const bool canvas = needs_.revises == Reach::kCanvas;
  const int32_t begin = canvas ? 0 : window_.begin;
  const int32_t end = canvas ? view.canvas() : window_.end;
  return hold_ || UndecidedAfter(view, outcome, begin, end) > 0 ? begin : kAllFinal;
}

// What is final now, and where the canvas ends.
void DiffusionStrategy::EndStep(const SequenceView& view, std::span<const Candidate> candidates,
                                StepOutcome* outcome) {
  outcome->open_from = OpenFrom(view, *outcome);
  outcome->canvas_end =
      canvas_->EndAfter({.view = view, .candidates = candidates, .outcome = *outcome});
  // A window that the canvas cuts short is still the same place.
  window_.end = std::min(window_.end, outcome->canvas_end);
  window_.block_end = std::min(window_.block_end, outcome->canvas_end);
}

Result<StepOutcome> DiffusionStrategy::Commit(const SequenceView& view, const StepPlan& plan,
                                              std::span<const RowStats> stats) {
  layout_.Ran();
  StepOutcome outcome;
  outcome.stored_kv = !Predicts();
  const size_t num_wanted = stats.size() - static_cast<size_t>(drift_.num_out());
  outcome.drift = drift_.Read(stats.subspan(num_wanted));
  stats = stats.first(num_wanted);
  if (predict_ == Predict::kNothing) {
    cache_->Ran({.view = view, .candidates = {}, .commits = {}});
    EndStep(view, {}, &outcome);
    return outcome;
  }

  std::vector<Candidate> candidates = Candidates(plan, stats);
  if (!candidates.empty()) {
    const int32_t window_end = window_.end;
    canvas_->Observe(view, candidates, &window_);
    if (window_.end != window_end) {
      window_undecided_ = CountUndecided(view, window_.begin, window_.end);
      while (candidates.back().position >= window_.end) candidates.pop_back();
    }
  }
  std::vector<Decided> decided;
  if (Predicts() && needs_.decided) {
    decided = DecidedStats(view, plan, stats.subspan(num_candidates_));
  }

  const CommitContext context{.candidates = candidates,
                              .window_step = window_step_,
                              .window_begin = window_.begin,
                              .window_undecided = window_undecided_,
                              .window_left = CountUndecided(view, window_.begin, window_.end),
                              .window_length = window_.end - window_.begin,
                              .num_windows = window_.num_windows,
                              .canvas_undecided = CountUndecided(view, 0, view.canvas()),
                              .key = {.seed = view.seed, .position = 0, .step = view.step},
                              .decided = decided};
  TESSERA_RETURN_IF_ERROR(Choose(context, view, candidates, &outcome));
  cache_->Ran({.view = view,
               .candidates = candidates,
               .commits = outcome.commits,
               .changed = revisions_.changed()});
  EndStep(view, candidates, &outcome);
  return outcome;
}

}  // namespace tessera::decode
