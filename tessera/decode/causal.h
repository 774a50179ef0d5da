// Left-to-right decoding of causal models, with or without a drafter.
//
// Without one: a row per step. With one: the newest token and the drafted chain are evaluated
// together and the prefix that equals what plain decoding chooses is kept (equality acceptance,
// lossless at any temperature because the noise of a position does not depend on drafting).
#pragma once

#include <memory>
#include <vector>

#include "tessera/decode/draft/drafter.h"
#include "tessera/decode/strategy.h"

namespace tessera::decode {

class CausalStrategy : public Strategy {
 public:
  // `drafter` may be null.
  CausalStrategy(const ModelTraits& traits, ops::SamplingSpec sampling,
                 std::unique_ptr<Drafter> drafter);

  Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) override;
  Result<StepPlan> Plan(const SequenceView& view, const StepBudget& budget) override;
  Result<StepOutcome> Commit(const SequenceView& view, const StepPlan& plan,
                             std::span<const RowStats> stats) override;

 private:
  ModelTraits traits_;
  ops::SamplingSpec sampling_;
  std::unique_ptr<Drafter> drafter_;
  int32_t stored_ = 0;   // slots [0, stored_) hold K/V of committed tokens
  int32_t drafted_ = 0;  // trailing rows of the current plan that are drafts
};

}  // namespace tessera::decode
