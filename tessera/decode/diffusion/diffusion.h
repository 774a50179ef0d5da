// A diffusion decoder composed of three policies: commit rule, cache policy and canvas policy.
//
// This class owns what they share: the choice of candidates, classifier-free guidance, the
// end-of-text rule, the drift meter, and where text may still change. StepLayout turns sets of
// positions into rows, Revisions bounds how often a token changes.
#pragma once

#include <memory>
#include <vector>

#include "tessera/decode/diffusion/cache_policy.h"
#include "tessera/decode/diffusion/canvas_policy.h"
#include "tessera/decode/diffusion/commit_rule.h"
#include "tessera/decode/diffusion/drift_meter.h"
#include "tessera/decode/diffusion/revisions.h"
#include "tessera/decode/diffusion/step_layout.h"
#include "tessera/decode/strategy.h"

namespace tessera::decode {

// What to do when the model predicts end-of-text.
enum class EndOfText {
  kFree,   // like any other token
  kLast,   // committed only when nothing else can be (LLaDA's second switch)
  kNever,  // its logit is -inf (LLaDA's first switch)
};

struct DiffusionConfig {
  float guidance = 0;  // w of l_u + (w + 1) (l_c - l_u), LLaDA eq. 16; 0: off
  EndOfText end_of_text = EndOfText::kFree;
  int32_t drift_probes = 0;  // rows that measure how far reused K/V have drifted
  float drift_refresh = 0;   // drift that makes the next forward a full one; 0: none does
  int32_t revisions = 16;    // of one position by rules that edit or take back; then it stays
};

const std::vector<OptionSpec>& DiffusionOptions();

class DiffusionStrategy : public Strategy {
 public:
  DiffusionStrategy(const ModelTraits& traits, const DiffusionConfig& config,
                    ops::SamplingSpec sampling, std::unique_ptr<CommitRule> commit,
                    std::unique_ptr<CachePolicy> cache, std::unique_ptr<CanvasPolicy> canvas);

  int32_t slots_per_position() const override;
  Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) override;
  Result<StepPlan> Plan(const SequenceView& view, const StepBudget& budget) override;
  Result<StepOutcome> Commit(const SequenceView& view, const StepPlan& plan,
                             std::span<const RowStats> stats) override;

 private:
  using Reach = RuleNeeds::Reach;

  bool IsStop(TokenId token) const;
  // Whether the planned forward predicts for the commit rule.
  bool Predicts() const { return predict_ == Predict::kWindow || predict_ == Predict::kListed; }
  Window NextWindow(const SequenceView& view);
  std::vector<int32_t> Wanted(const SequenceView& view, const CachePlan& cache) const;
  void AddForRule(const SequenceView& view, StepPlan* plan);
  void TakeJointPass(bool moved, StepPlan* plan);

  // Where the rule sees decided positions and may change them.
  SlotRange Reachable() const;
  std::vector<int32_t> DecidedPositions(const SequenceView& view) const;
  std::vector<Candidate> Candidates(const StepPlan& plan, std::span<const RowStats> stats) const;
  std::vector<Decided> DecidedStats(const SequenceView& view, const StepPlan& plan,
                                    std::span<const RowStats> stats) const;
  Status Choose(const CommitContext& context, const SequenceView& view,
                std::span<Candidate> candidates, StepOutcome* outcome);
  // Undecided positions of [begin, end) once the outcome is applied.
  static int32_t UndecidedAfter(const SequenceView& view, const StepOutcome& outcome, int32_t begin,
                                int32_t end);
  int32_t OpenFrom(const SequenceView& view, const StepOutcome& outcome) const;
  void EndStep(const SequenceView& view, std::span<const Candidate> candidates,
               StepOutcome* outcome);

  ModelTraits traits_;
  DiffusionConfig config_;
  ops::SamplingSpec sampling_;
  std::unique_ptr<CommitRule> commit_;
  std::unique_ptr<CachePolicy> cache_;
  std::unique_ptr<CanvasPolicy> canvas_;

  RuleNeeds needs_;
  Revisions revisions_;
  StepLayout layout_;
  DriftMeter drift_;
  Window window_{.begin = -1, .end = -1};
  int32_t window_step_ = 0;
  int32_t window_undecided_ = 0;
  bool hold_ = false;     // the rule looks at window_ once more although nothing in it is undecided
  bool widened_ = false;  // window_ was widened to what the rule took back before it
  int32_t joint_left_ = 0;              // passes of the joint layer before the next forward
  RowSet kept_;                         // rows whose hidden states the last forward kept
  Predict predict_ = Predict::kWindow;  // of the planned forward
  size_t num_candidates_ = 0, num_decided_ = 0, num_shadow_ = 0;  // its out rows, in this order
};

}  // namespace tessera::decode
