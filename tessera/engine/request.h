// What a caller asks of the engine, and what it is told while and after it happens.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/decode/strategy.h"

namespace tessera::engine {

using ops::TokenId;

// Cost of a request so far. Tokens are counted to the first end-of-text or the output limit;
// prompt tokens are never output.
struct Metrics {
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  int64_t forwards[decode::kNumForwardKinds] = {};  // indexed by decode::ForwardKind
  int64_t rows = 0;                                 // evaluated, all forwards, not kJoint
  int64_t weight_bytes = 0;  // read by the forwards, those of batch mates included
  int64_t reused = 0;        // rows that forwards saw without evaluating them
  int64_t probes = 0;        // of the evaluated rows, those that only measure drift
  int64_t dropped = 0;       // canvas positions given up behind the end of the text
  int64_t drift_steps = 0;   // forwards that measured drift, and over them:
  double drift_sum = 0, drift_max = 0;
  int64_t committed = 0;  // positions decided, also past the end of the text, or once more
  int64_t edited = 0, remasked = 0;  // decided tokens that were replaced, or taken back
  int64_t drafted = 0, accepted = 0;
  double seconds = 0;        // from the first plan to the last commit
  double first_seconds = 0;  // to the end of the first forward (prefill)

  int64_t joint_passes() const { return forwards[static_cast<int>(decode::ForwardKind::kJoint)]; }
  int64_t total_forwards() const {
    int64_t total = -joint_passes();
    for (const int64_t count : forwards) total += count;
    return total;
  }
};

// One applied step, for traces and the canvas view. Spans are valid during the callback only.
struct StepEvent {
  int32_t step = 0;
  decode::ForwardKind kind = decode::ForwardKind::kFull;
  int32_t rows = 0;
  std::span<const decode::Placement> commits;
  std::span<const decode::Placement> edits;
  std::span<const int32_t> remasks;
  std::span<const TokenId> canvas;  // mask token where undecided
  const std::vector<bool>* committed = nullptr;
  std::span<const float> confidence;  // per canvas position; 0 where undecided
  int32_t final_end = 0;              // output [prompt, final_end) cannot change any more
};

enum class FinishReason { kStop, kLength, kCancelled, kError };

struct Request {
  // A mask token in the prompt is a hole to fill (bidirectional and block-causal models).
  std::vector<TokenId> prompt;
  int32_t max_new_tokens = 128;
  uint64_t seed = 0;
  std::unique_ptr<decode::Strategy> strategy;
  std::vector<TokenId> stop_ids;  // end-of-text
  bool stop_early = true;         // false: decide the whole canvas, as published loops do
  // Called after every step; returning false cancels the request.
  std::function<bool(const StepEvent&)> on_step;
};

struct Completion {
  Status status;  // of a request that ended in kError
  FinishReason reason = FinishReason::kError;
  std::vector<TokenId> canvas;    // prompt included; undecided positions hold the mask token
  std::vector<TokenId> output;    // up to, not including, the end-of-text token
  std::vector<float> confidence;  // [output]: probability at the step that placed each token
  Metrics metrics;
};

}  // namespace tessera::engine
