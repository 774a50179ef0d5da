// What a sweep was to reach, and what it did reach.
#pragma once

#include <string>
#include <vector>

#include "apps/eval/report.h"

namespace tessera::eval {

struct TargetOutcome {
  const SweepTarget* target = nullptr;
  std::string needed;          // "3× fewer forwards than `threshold=2`, at most 1 point lost"
  const Cell* best = nullptr;  // null: no row counts
  double value = 0;            // of the target's measure, by the best row
  bool reached = false;
};

// In the order of the grid. The best row is the one with the largest value among those that the
// target's limit admits.
std::vector<TargetOutcome> JudgeTargets(const GridReport& report);

// Forwards per case that the cells of `curve` need for this cell's accuracy, over its own: above 1
// the cell is cheaper than the curve. Below 0: the curve has no such point.
double AgainstCurve(const GridReport& report, const std::string& curve, const Cell& cell);

}  // namespace tessera::eval
