// One request while it is being decoded: canvas, committed bitmap, page table, metrics.
//
// Slots and canvas belong to this object; validity of K/V is the strategy's. Ownership of the
// canvas: [0, prompt) given, [prompt, output_end) output, [output_end, canvas) decided only
// because a block reaches past the limit.
#pragma once

#include <cstdint>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/engine/request.h"
#include "tessera/kv/kv_cache.h"

namespace tessera::engine {

class Sequence {
 public:
  // Refuses requests that do not fit the model.
  static Result<std::unique_ptr<Sequence>> Create(int64_t id, Request request,
                                                  const ops::ModelTraits& traits,
                                                  kv::PagePool& pool);

  int64_t id() const { return id_; }
  bool finished() const { return finished_; }
  const decode::StepPlan& plan() const { return plan_; }
  std::span<const int32_t> pages() const { return pages_.pages(); }
  uint64_t seed() const { return request_.seed; }

  // Asks the strategy for the next plan, checks it and reserves its slots.
  Status PlanStep(const decode::StepBudget& budget);
  // Hands the results to the strategy and applies what it decides. `seconds` since the first plan
  // come from the engine's clock; `weight_bytes` is what the forward read.
  Status ApplyStep(std::span<const ops::RowStats> stats, double seconds, int64_t weight_bytes);
  // Slots to copy after ApplyStep, in order.
  std::span<const std::pair<int32_t, int32_t>> kv_moves() const { return outcome_.kv_moves; }

  void Fail(Status status);
  Completion TakeCompletion();

 private:
  Sequence(int64_t id, Request request, const ops::ModelTraits& traits, kv::PagePool& pool)
      : id_(id), request_(std::move(request)), traits_(traits), pages_(pool) {}

  decode::SequenceView View() const;
  Status CheckPlan() const;
  Status CheckStats(std::span<const ops::RowStats> stats) const;
  Status Place(const decode::Placement& placement);
  // Drops the canvas behind `end`; the strategy has found that the text ends there.
  Status Truncate(int32_t end);
  // Applies edits and remasks.
  Status Revise();
  Status CountRevision(int32_t position);
  // Positions from `open_from` on may still change.
  void UpdateFinalEnd(int32_t open_from);
  void Finish(FinishReason reason);

  int64_t id_;
  Request request_;
  const ops::ModelTraits& traits_;
  kv::PageTable pages_;
  int32_t prompt_length_ = 0;
  int32_t output_end_ = 0;
  std::vector<TokenId> canvas_;
  std::vector<bool> committed_;
  std::vector<float> confidence_;
  std::vector<bool> given_;         // by the prompt: never changes
  std::vector<uint8_t> revisions_;  // of each position so far
  int32_t undecided_ = 0;
  int32_t final_end_ = 0;  // decided prefix that cannot change any more
  int32_t stop_at_ = -1;   // position of the first end-of-text in the decided output
  int32_t step_ = 0;
  int32_t idle_steps_ = 0;
  decode::StepPlan plan_;
  decode::StepOutcome outcome_;
  bool finished_ = false;
  Completion completion_;
};

}  // namespace tessera::engine
