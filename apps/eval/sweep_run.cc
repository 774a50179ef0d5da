#include "apps/eval/sweep_run.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "apps/eval/errors.h"
#include "apps/eval/fingerprint.h"
#include "apps/eval/likelihood.h"
#include "apps/eval/own_text.h"

namespace tessera::eval {
namespace {

struct PlannedRow {
  size_t grid = 0, entry = 0;
  std::string path;  // of the model
  std::string task;
  RowSettings settings;  // all but what only the loaded model knows
};

std::string NameOf(const std::string& path) {
  const std::filesystem::path p(path);
  return p.has_filename() ? p.filename().string() : p.parent_path().filename().string();
}

bool Contains(const Strings& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

class SweepRunner {
 public:
  SweepRunner(Sweep sweep, TaskSource* tasks, const SweepRunOptions& options)
      : sweep_(std::move(sweep)), tasks_(*tasks), options_(options) {}

  Result<SweepOutcome> Run() {
    if (!options_.rows_path.empty()) {
      TESSERA_ASSIGN_OR_RETURN(rows_, ReadRows(options_.rows_path));
    }
    TESSERA_RETURN_IF_ERROR(Plan());
    if (!options_.only.empty() && planned_.empty()) {
      return BadRequest("--only {}: nothing in the sweep has that strategy, curve, model or task",
                        fmt::join(options_.only, ", "));
    }
    Strings paths;  // in the order of the sweep: one model is in memory at a time
    for (const PlannedRow& planned : planned_) {
      if (!Contains(paths, planned.path)) paths.push_back(planned.path);
    }
    for (const std::string& path : paths) TESSERA_RETURN_IF_ERROR(RunModel(path));
    if (replaced_ && !options_.rows_path.empty()) {
      TESSERA_RETURN_IF_ERROR(WriteRows(options_.rows_path, LastOfEach()));
    }
    for (size_t i = 0; i < sweep_.grids.size(); ++i) {
      outcome_.reports.push_back(MakeReport(sweep_.grids[i], rows_, names_[i]));
    }
    return std::move(outcome_);
  }

 private:
  // Tasks expanded, models resolved, rows listed.
  Status Plan() {
    std::map<std::string, std::string> paths;
    for (size_t g = 0; g < sweep_.grids.size(); ++g) {
      SweepGrid& grid = sweep_.grids[g];
      for (SweepGroup& group : grid.groups) {
        Strings names;
        for (const std::string& task : group.tasks) {
          TESSERA_ASSIGN_OR_RETURN(const Strings expanded, tasks_.Expand(task));
          for (const std::string& name : expanded) {
            if (!Contains(names, name)) names.push_back(name);
          }
        }
        group.tasks = std::move(names);
      }
      names_.emplace_back();
      Strings models;  // that have an entry already
      for (size_t e = 0; e < grid.entries.size(); ++e) {
        const SweepEntry& entry = grid.entries[e];
        if (!paths.contains(entry.model)) {
          TESSERA_ASSIGN_OR_RETURN(paths[entry.model], options_.resolve(entry.model));
        }
        const std::string& path = paths[entry.model];
        names_.back().push_back(NameOf(path));
        const bool first = !Contains(models, path);
        models.push_back(path);
        for (const SweepGroup& group : grid.groups) {
          if (!Wanted(grid, e, NameOf(path), group)) continue;
          for (const std::string& task : group.tasks) {
            // A likelihood does not depend on the strategy: once per model.
            if (TaskSource::IsLikelihood(task) && !first) continue;
            planned_.push_back(
                {.grid = g,
                 .entry = e,
                 .path = path,
                 .task = task,
                 .settings = QuestionOf(grid.settings, NameOf(path), entry.strategy, task)});
          }
        }
      }
    }
    return OkStatus();
  }

  bool Wanted(const SweepGrid& grid, size_t entry, const std::string& model,
              const SweepGroup& group) const {
    const Strings& only = options_.only;
    const SweepEntry& e = grid.entries[entry];
    return only.empty() || Contains(only, e.strategy) || Contains(only, e.curve) ||
           Contains(only, model) || Contains(only, group.name);
  }

  Status RunModel(const std::string& path) {
    TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<api::Model> model, options_.load(path));
    TESSERA_ASSIGN_OR_RETURN(const std::string hash, FingerprintOfModel(path));
    bool warm = false;
    for (const PlannedRow& planned : planned_) {
      if (planned.path != path) continue;
      TESSERA_RETURN_IF_ERROR(model->CheckStrategy(Checkable(planned.settings.strategy)));
    }
    for (PlannedRow& planned : planned_) {
      if (planned.path != path) continue;
      if (options_.progress) options_.progress(done_++, static_cast<int64_t>(planned_.size()));
      if (options_.keep_going && !options_.keep_going()) {
        return Status(StatusCode::kCancelled, "interrupted");
      }
      const SweepSettings& settings = sweep_.grids[planned.grid].settings;
      TESSERA_ASSIGN_OR_RETURN(
          const std::vector<Case> cases,
          tasks_.Cases(planned.task, settings.seed, static_cast<size_t>(settings.limit)));
      planned.settings.version = fmt::format("{}/{}", options_.version, kEvalVersion);
      planned.settings.model_hash = hash;
      planned.settings.dtype = model->info().dtype;
      planned.settings.device = model->info().device;
      planned.settings.cases_hash = HashOfCases(cases);
      const Row* recorded = FindRow(rows_, planned.settings);
      if (recorded != nullptr && recorded->refused.empty() && !options_.fresh) {
        ++outcome_.kept;
        continue;
      }
      if (!warm) {  // memory is touched, caches are filled: not what is measured
        (void)RunCases(*model, std::span(cases).first(1), {.max_tokens = 1});
        warm = true;
      }
      TESSERA_RETURN_IF_ERROR(RunRow(*model, planned.settings, cases));
    }
    return OkStatus();
  }

  Status RunRow(api::Model& model, const RowSettings& settings, const std::vector<Case>& cases) {
    const Result<Measurement> result = Measure(model, settings, cases);
    if (!result.ok() && result.status().code() == StatusCode::kCancelled) return result.status();
    Row row{.settings = settings, .result = {}, .refused = "", .machine = options_.machine};
    if (result.ok()) {
      row.result = *result;
    } else {
      row.refused = result.status().message();
    }
    Compare(row);
    if (!options_.rows_path.empty()) TESSERA_RETURN_IF_ERROR(AppendRow(options_.rows_path, row));
    rows_.push_back(std::move(row));
    ++outcome_.ran;
    return OkStatus();
  }

  Result<Measurement> Measure(api::Model& model, const RowSettings& settings,
                              const std::vector<Case>& cases) {
    if (TaskSource::IsLikelihood(settings.task)) {
      return MeasureLikelihood(model, cases,
                               {.seed = settings.seed, .keep_going = options_.keep_going});
    }
    RunOptions run{.strategy = settings.strategy,
                   .max_tokens = static_cast<int32_t>(settings.max_tokens),
                   .batch = static_cast<int32_t>(settings.batch),
                   .sampling = {.temperature = static_cast<float>(settings.temperature),
                                .seed = settings.seed},
                   .keep_going = options_.keep_going,
                   .on_outcome = {},
                   .on_request = {}};
    if (options_.on_outcome) {
      run.on_outcome = [&](const Outcome& outcome) { options_.on_outcome(settings, outcome); };
    }
    if (options_.on_request) {
      run.on_request = [&](size_t, api::GenerateRequest* request) {
        options_.on_request(model, settings, request);
      };
    }
    return RunCases(model, cases, run);
  }

  // Against the last record of the same question, if there is one.
  void Compare(const Row& row) {
    const Row* before = nullptr;
    for (const Row& known : rows_) {
      if (!IsSameQuestion(known.settings, row.settings)) continue;
      replaced_ = true;
      if (known.refused.empty()) before = &known;
    }
    if (before == nullptr) return;
    const std::string difference = row.refused.empty()
                                       ? OutcomeDifference(before->result, row.result)
                                       : "refused now: " + row.refused;
    if (difference.empty()) {
      ++outcome_.reproduced;
    } else {
      outcome_.changed.push_back(fmt::format("{}, {}, {}: {}", row.settings.model,
                                             row.settings.strategy, row.settings.task, difference));
    }
  }

  // The rows without those that a later one replaces.
  std::vector<Row> LastOfEach() const {
    std::vector<Row> kept;
    for (size_t i = 0; i < rows_.size(); ++i) {
      const bool later = std::any_of(
          rows_.begin() + static_cast<ptrdiff_t>(i) + 1, rows_.end(),
          [&](const Row& row) { return IsSameQuestion(row.settings, rows_[i].settings); });
      if (!later) kept.push_back(rows_[i]);
    }
    return kept;
  }

  Sweep sweep_;
  TaskSource& tasks_;
  const SweepRunOptions& options_;
  std::vector<Row> rows_;
  std::vector<PlannedRow> planned_;
  std::vector<Strings> names_;  // of the models, by grid and entry
  SweepOutcome outcome_;
  int64_t done_ = 0;
  bool replaced_ = false;
};

}  // namespace

std::string OutcomeDifference(const Measurement& before, const Measurement& again) {
  if (before.score != again.score || before.graded != again.graded) {
    return fmt::format("right {:g} of {}, recorded {:g} of {}", again.score, again.graded,
                       before.score, before.graded);
  }
  if (before.forwards() != again.forwards() || before.full != again.full ||
      before.window != again.window) {
    return fmt::format("{} forwards, recorded {}", again.forwards(), before.forwards());
  }
  if (before.tokens != again.tokens) {
    return fmt::format("{} tokens, recorded {}", again.tokens, before.tokens);
  }
  if (before.nll != again.nll) {
    return fmt::format("{} nats, recorded {}", again.nll, before.nll);
  }
  return "";
}

Result<SweepOutcome> RunSweep(const Sweep& sweep, TaskSource* tasks,
                              const SweepRunOptions& options) {
  return SweepRunner(sweep, tasks, options).Run();
}

}  // namespace tessera::eval
