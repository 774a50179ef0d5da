// Carries out a sweep: what is recorded already is kept, the rest is run, model by model.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/eval/report.h"
#include "apps/eval/sweep.h"
#include "apps/eval/tasks.h"
#include "tessera/api/model.h"

namespace tessera::eval {

struct SweepRunOptions {
  std::string rows_path;  // memory of earlier runs; "" = none
  std::string version;    // of tessera
  std::string machine;    // processor, for the times
  Strings only;           // strategies, curves, models or task groups; empty: all
  bool fresh = false;     // run rows again although they are recorded
  // A model as the sweep names it ("" = the default) to its path, and a path to a model.
  std::function<Result<std::string>(const std::string&)> resolve;
  std::function<Result<std::unique_ptr<api::Model>>(const std::string&)> load;
  std::function<void(int64_t done, int64_t total)> progress;
  std::function<bool()> keep_going;
  std::function<void(api::Model&, const RowSettings&, api::GenerateRequest*)> on_request;
  std::function<void(const RowSettings&, const Outcome&)> on_outcome;
};

struct SweepOutcome {
  std::vector<GridReport> reports;
  int64_t ran = 0, kept = 0;  // rows
  // Of rows that were run again: how many came out as recorded, and those that did not, in words.
  int64_t reproduced = 0;
  Strings changed;
};

// The strategies of a model are checked before any of its rows runs. A row that fails is recorded
// with its reason and the sweep goes on; interrupting it loses the row at hand.
Result<SweepOutcome> RunSweep(const Sweep& sweep, TaskSource* tasks,
                              const SweepRunOptions& options);

// Why `again` is another outcome than `before`; "" when it is the same, times aside.
std::string OutcomeDifference(const Measurement& before, const Measurement& again);

}  // namespace tessera::eval
