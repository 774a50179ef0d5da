// A diffusion decoder composed of three policies: commit rule, cache policy and canvas policy.
//
// This class owns what they share: the choice of candidates, classifier-free guidance, the
// end-of-text rule, the drift meter. StepLayout turns sets of positions into rows.
#pragma once

#include <memory>
#include <vector>

#include "tessera/decode/diffusion/cache_policy.h"
#include "tessera/decode/diffusion/canvas_policy.h"
#include "tessera/decode/diffusion/commit_rule.h"
#include "tessera/decode/diffusion/drift_meter.h"
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
};

const std::vector<OptionSpec>& DiffusionOptions();

class DiffusionStrategy : public Strategy {
 public:
  DiffusionStrategy(const ModelTraits& traits, const DiffusionConfig& config,
                    ops::SamplingSpec sampling, std::unique_ptr<CommitRule> commit,
                    std::unique_ptr<CachePolicy> cache, std::unique_ptr<CanvasPolicy> canvas);

  Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) override;
  Result<StepPlan> Plan(const SequenceView& view, const StepBudget& budget) override;
  Result<StepOutcome> Commit(const SequenceView& view, const StepPlan& plan,
                             std::span<const RowStats> stats) override;

 private:
  bool IsStop(TokenId token) const;
  std::vector<int32_t> Wanted(const SequenceView& view, const CachePlan& cache) const;

  ModelTraits traits_;
  DiffusionConfig config_;
  ops::SamplingSpec sampling_;
  std::unique_ptr<CommitRule> commit_;
  std::unique_ptr<CachePolicy> cache_;
  std::unique_ptr<CanvasPolicy> canvas_;

  StepLayout layout_;
  DriftMeter drift_;
  Window window_{.begin = -1, .end = -1};
  int32_t window_step_ = 0;
  int32_t window_undecided_ = 0;
  Predict predict_ = Predict::kWindow;  // of the planned forward
};

}  // namespace tessera::decode
