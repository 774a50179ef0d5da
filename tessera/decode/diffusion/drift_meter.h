// Drift: how far the rows that a cache reuses are from what recomputing them now would give.
//
// A few visible rows outside the window, evenly spread, are the probes. When a forward computes a
// probe anyway, the meter reads its prediction there: the baseline. When a forward reuses it, the
// meter adds one shadow row: the same token and position, its K/V in a scratch slot, seeing what
// the other rows see and itself in place of the reused row. The distance between the shadow's
// prediction and the baseline is what a refresh of that row would change. At the refresh the
// computed row itself is compared, with every other row fresh.
//
// Measured on the two best tokens (TopTwoDistance), not on K/V: all layers' K/V and the prediction
// are functions of the same hidden rows, and the statistics are there without a word to the device.
// Scratch slots keep the measurement from changing what is decoded.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/decode/diffusion/row_set.h"
#include "tessera/decode/strategy.h"

namespace tessera::decode {

// A lower bound of the total variation distance of two predictions from their two best tokens each:
// 0 when they agree, up to 1. An unlisted token has at most the probability of the second best.
float TopTwoDistance(const RowStats& a, const RowStats& b);

class DriftMeter {
 public:
  static constexpr int32_t kMaxProbes = 16;

  // `probes`: 0 turns the meter off. `refresh_at`: drift at or above which the next step should
  // recompute everything; 0: never.
  DriftMeter(int32_t probes, float refresh_at) : probes_(probes), refresh_at_(refresh_at) {}

  // Adds probe rows and out rows at the end of a finished plan. `computed` and `keys` are the
  // canvas rows the plan computes and sees, [begin, end) the window; slots from `scratch` on are
  // free.
  struct Layout {
    const RowSet& computed;
    const RowSet& keys;
    int32_t begin = 0, end = 0;
    int32_t scratch = 0;
  };
  void AddTo(const SequenceView& view, const Layout& layout, StepPlan* plan);
  // Reads the statistics of the rows it added, the last ones of the plan. Returns the step's drift,
  // the mean over the probes that were reused; below 0: nothing was measured.
  float Read(std::span<const RowStats> stats);

  int32_t num_out() const { return static_cast<int32_t>(planned_.size()); }  // of the last plan
  bool refresh_wanted() const { return refresh_wanted_; }

 private:
  struct Probe {
    int32_t position = 0;
    bool known = false;   // has a baseline
    bool reused = false;  // a forward has reused the row since
    RowStats baseline = {};
  };
  std::vector<Probe> Choose(const SequenceView& view, const Layout& layout) const;

  int32_t probes_;
  float refresh_at_;
  bool refresh_wanted_ = false;
  std::vector<Probe> chosen_;
  size_t leaving_ = 0;           // the first of chosen_ are read once more and then dropped
  std::vector<size_t> planned_;  // indices into chosen_, in the order of the out rows
  std::vector<bool> in_place_;   // [planned]: computed by the plan itself
};

}  // namespace tessera::decode
