// Canvas policy: where decoding happens now. One of the three slots of a diffusion decoder.
#pragma once

#include <cstdint>
#include <memory>

#include "tessera/base/status.h"
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

  bool operator==(const Window&) const = default;
};

class CanvasPolicy {
 public:
  virtual ~CanvasPolicy() = default;
  virtual Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) = 0;
  // The window of the next step. Called only while some position is undecided.
  virtual Window Next(const SequenceView& view) = 0;
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

inline bool HasUndecided(const SequenceView& view, int32_t begin, int32_t end) {
  for (int32_t position = begin; position < end; ++position) {
    if (!view.is_committed(position)) return true;
  }
  return false;
}

}  // namespace tessera::decode
