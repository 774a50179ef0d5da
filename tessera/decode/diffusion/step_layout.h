// From the sets of positions that a cache policy names to the rows of a plan: which row stands
// where, which slot it writes, which keys it sees, which row predicts a position.
//
// Slots of one sequence: [0, stride) the canvas, slot = position; [stride, 2 stride) the same rows
// with a masked prompt, when guidance is on; what follows is scratch, of the drift meter and then
// of shadow rows. Validity of K/V is known here: the token that each canvas slot was last computed
// with.
#pragma once

#include <cstdint>
#include <vector>

#include "tessera/decode/diffusion/cache_policy.h"
#include "tessera/decode/diffusion/row_set.h"
#include "tessera/decode/strategy.h"

namespace tessera::decode {

class StepLayout {
 public:
  explicit StepLayout(const ModelTraits& traits) : traits_(traits) {}

  void Begin(int32_t canvas);

  // Adds the rows, one group and one out row per wanted position (ascending) to an empty plan.
  // `hidden` rows are neither computed nor seen.
  void AddRows(const SequenceView& view, const CachePlan& cache, const RowSet& hidden,
               const std::vector<int32_t>& wanted, StepPlan* plan);
  // Adds an out row for each of the decided `positions` (ascending) whose predictor is among the
  // rows, with the probability of the token that stands there.
  void AddDecided(const SequenceView& view, const std::vector<int32_t>& positions,
                  StepPlan* plan) const;
  // Doubles a plan of AddRows and AddDecided: the same rows again with every prompt token masked,
  // in slots of their own, as the unconditional half of guidance.
  void AddGuidanceTwin(const SequenceView& view, float scale, StepPlan* plan) const;
  // Adds a mask for every position of `shadow`, in slots of its own from `slot` on. Each sees the
  // keys that its position would see, but not the position itself, and the other masks; no row sees
  // it. With guidance (`twin`) all of them again, against the unconditional half. Adds an out row
  // for each of the decided `positions`, as AddDecided does.
  struct Shadow {
    SlotRange positions;
    int32_t slot = 0;
    bool twin = false;
  };
  void AddShadow(const SequenceView& view, const Shadow& shadow,
                 const std::vector<int32_t>& positions, StepPlan* plan) const;
  // The last plan's forward has run: its rows hold K/V of the tokens they were computed with.
  void Ran();

  // Of the last plan.
  const RowSet& rows() const { return rows_; }
  const RowSet& keys() const { return keys_; }
  // First slot that no row of the canvas or its twin uses.
  int32_t scratch_slot(bool guidance) const { return guidance ? 2 * stride_ : stride_; }

 private:
  // Row that predicts a position: its own, or its left neighbour's when logits are shifted.
  int32_t PredictorOf(int32_t position) const {
    return traits_.shifted_logits && position > 0 ? position - 1 : position;
  }

  ModelTraits traits_;
  int32_t stride_ = 0;
  std::vector<TokenId> stored_;  // [canvas]; token whose K/V the slot holds, -1: none yet
  RowSet rows_, keys_;
  std::vector<TokenId> row_tokens_;  // of rows_, ascending positions
};

}  // namespace tessera::decode
