// Canvas policy: where decoding happens now and when the canvas ends. One of the three slots of a
// diffusion decoder.
//
// A policy speaks before a forward (Next), and may speak again once the forward has run: shorten
// the window it asked for (Observe), correct what the commit rule chose (Adjust), end the canvas
// (EndAfter). Given spans may lie anywhere; a policy never assumes that decided positions form a
// prefix.
#pragma once

#include <cstdint>
#include <memory>

#include "tessera/base/status.h"
#include "tessera/decode/diffusion/commit_rule.h"
#include "tessera/decode/diffusion/row_set.h"
#include "tessera/decode/options.h"
#include "tessera/decode/strategy.h"

namespace tessera::decode {

// Undecided positions in [begin, end) may be committed now.
struct Window {
  int32_t begin = 0;
  int32_t end = 0;
  int32_t block_begin = 0;  // the block that holds the window; equal to it unless sub-blocks are on
  int32_t block_end = 0;
  int32_t num_windows = 1;  // windows in the whole canvas, for schedules that span it
  bool observed = false;    // Observe needs all predictions of it, whatever the cache
  RowSet hidden = {};       // undecided positions beyond the window that no row may see

  // The same place on the canvas, whatever is hidden around it.
  bool SameAs(const Window& other) const {
    return begin == other.begin && end == other.end && block_begin == other.block_begin &&
           block_end == other.block_end;
  }
};

// What came of a step.
struct CanvasFeedback {
  const SequenceView& view;               // before the step's outcome is applied
  std::span<const Candidate> candidates;  // predictions of undecided positions, ascending
  const StepOutcome& outcome;             // its commits, edits, remasks and open_from
};

class CanvasPolicy {
 public:
  virtual ~CanvasPolicy() = default;
  virtual Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) = 0;
  // The window of the next step. Called only while some position is undecided.
  virtual Window Next(const SequenceView& view) = 0;
  // After the forward and before the commit rule: what was predicted in the window, ascending and
  // never empty.
  // May lower window->end and block_end; the next call of Next must then agree with it.
  virtual void Observe(const SequenceView& view, std::span<const Candidate> predictions,
                       Window* window) {
    (void)view, (void)predictions, (void)window;
  }
  // After the commit rule: may drop or add indices into `candidates`.
  virtual void Adjust(const SequenceView& view, std::span<const Candidate> candidates,
                      std::vector<int32_t>* chosen) {
    (void)view, (void)candidates, (void)chosen;
  }
  // Length of the canvas from now on; only ever shorter.
  virtual int32_t EndAfter(const CanvasFeedback& feedback) { return feedback.view.canvas(); }
};

// A member of the slot: its name, source, options and factory.
struct CanvasPolicyEntry {
  std::string name;
  std::string source;  // paper or model the rule is from
  std::string help;
  std::vector<OptionSpec> options;
  Result<std::unique_ptr<CanvasPolicy>> (*make)(const Options& options, const ModelTraits& traits);
};

// First undecided position; canvas() when there is none.
inline int32_t FirstUndecided(const SequenceView& view) {
  int32_t position = 0;
  while (position < view.canvas() && view.is_committed(position)) ++position;
  return position;
}

inline int32_t CountUndecided(const SequenceView& view, int32_t begin, int32_t end) {
  int32_t count = 0;
  for (int32_t position = begin; position < end; ++position) count += !view.is_committed(position);
  return count;
}

}  // namespace tessera::decode
