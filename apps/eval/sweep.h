// A sweep as text: which strategies of which models run on which tasks. bench/results.sweep is one.
//
//   limit 20                         cases per task; what stands before the first grid holds for
//   all grid methods                     a table and a chart task lists=heldout/copy,heldout/sort
//   a group of tasks, pooled, and its name task grid/sudoku                 a group of its own
//   model tessera-diffusion          the following strategies run with it
//   curve threshold                  the following strategies are points of this curve
//   strategy threshold={2,0.9,0.5}   one row for each choice in braces
//
//   note TEXT                        a paragraph above the table
//   against CURVE                    a column: forwards of that curve at a row's accuracy
//   target NAME | GROUP | MEASURE FACTOR | LIMIT | CURVE | ...
//                                    a goal, on the page with what was reached
//   reason TEXT                      why the target above was missed, or what stands behind it
//   limits on                        the closed forms of ParallelBench beside the table
//
// Items stand on lines of their own or are separated by ";". "#" begins a comment.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/eval/text.h"
#include "tessera/api/model.h"

namespace tessera::eval {

struct SweepSettings {
  int64_t limit = 20;  // cases per task; 0: all
  int64_t batch = 32;
  int64_t max_tokens = 64;
  uint64_t seed = 0;
  double temperature = 0;
};

struct SweepGroup {
  std::string name;
  Strings tasks;  // as written: names, or folders of tasks
};

struct SweepEntry {
  std::string model;  // as written; "" = the default model
  std::string curve;  // "" = the strategy's own
  std::string strategy;
};

// What a method must reach on a task group: the best row of its curves counts.
struct SweepTarget {
  enum class Measure {
    kForwards,         // so many times fewer than the grid's first row, at most LIMIT points lost
    kTokensPerSecond,  // so many times more than the grid's first row, the same
    kAgainst,          // so many times fewer than curve LIMIT needs for the same accuracy
    kRecovered,        // this share of the accuracy between row LIMIT and the grid's first
  };
  std::string name, group;
  Measure measure = Measure::kForwards;
  double factor = 1;
  double points = 0;      // most percentage points lost
  std::string reference;  // a curve, or a strategy
  Strings curves;
  std::string reason;
};

struct SweepGrid {
  std::string name;
  SweepSettings settings;
  Strings notes;
  std::string against;  // a curve; "" = no such column
  std::vector<SweepTarget> targets;
  bool limits = false;
  std::vector<SweepGroup> groups;
  std::vector<SweepEntry> entries;
};

struct Sweep {
  std::vector<SweepGrid> grids;
};

// Errors name `name` and the line, and say what is accepted there.
Result<Sweep> ParseSweep(std::string_view text, const std::string& name);

// "a={1,2},b={x,y}" as its four texts, the last braces turning fastest; braces do not nest.
Result<Strings> ExpandBraces(const std::string& text);

}  // namespace tessera::eval
