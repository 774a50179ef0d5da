#include "apps/cli/comparison.h"

#include <algorithm>
#include <set>

#include "apps/cli/command.h"
#include "apps/cli/metrics.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/progress.h"
#include "apps/cli/table.h"
#include "apps/cli/terminal.h"
#include "apps/eval/encode.h"
#include "apps/eval/graders.h"

namespace tessera::cli {
namespace {

Result<api::GenerateResult> RunTrial(const Contender& contender, const Trial& trial,
                                     const ComparisonOptions& options) {
  api::GenerateRequest request;
  TESSERA_ASSIGN_OR_RETURN(request.ids, EncodeTrial(*contender.model, trial));
  request.strategy = contender.strategy;
  request.sampling = options.sampling;
  request.max_new_tokens =
      eval::RoomFor(*contender.model, trial.graded == nullptr ? "" : trial.graded->answer,
                    static_cast<int64_t>(request.ids.size()), options.max_tokens);
  request.on_step = [](const api::StepView&) { return StopSignal() == 0 && Out().ok(); };
  Result<api::GenerateResult> result = contender.model->Generate(request);
  TESSERA_RETURN_IF_ERROR(CheckStopped());
  return result;
}

std::string Percent(int64_t part, int64_t all) {
  return all == 0
             ? ""
             : fmt::format("{:.1f}%", 100.0 * static_cast<double>(part) / static_cast<double>(all));
}

double Ratio(double a, double b) { return b == 0 ? 0 : a / b; }

}  // namespace

void Tally::Add(const api::GenerateResult& result) {
  const api::GenerateMetrics& metrics = result.metrics;
  tokens_per_second.push_back(metrics.tokens_per_second());
  ++runs;
  tokens += metrics.output_tokens;
  full += metrics.full_forwards;
  window += metrics.window_forwards;
  finalise += metrics.finalise_forwards;
  weight_bytes += metrics.weight_bytes;
  rows += metrics.rows;
  reused_rows += metrics.reused_rows;
  dropped += metrics.dropped;
  drift_forwards += metrics.drift_forwards;
  drift_sum += metrics.drift_mean * static_cast<double>(metrics.drift_forwards);
  drift_max = std::max(drift_max, metrics.drift_max);
  seconds += metrics.seconds;
}

Result<std::vector<api::TokenId>> EncodeTrial(const api::Model& model, const Trial& trial) {
  if (trial.graded == nullptr) return trial.ids;
  if (!model.info().has_tokenizer) {
    return UsageError("{} has no tokenizer; pass the prompt as token ids: --ids 1,2,3",
                      ShortName(model.info()));
  }
  return eval::EncodeCase(model, *trial.graded);
}

Result<std::vector<Tally>> Compare(std::span<const Contender> contenders,
                                   std::span<const Trial> trials,
                                   const ComparisonOptions& options) {
  std::vector<Tally> tallies(contenders.size());
  for (const Contender& contender : contenders) {
    TESSERA_RETURN_IF_ERROR(RunTrial(contender, trials.front(), options).status());
  }
  Progress progress("comparing", Progress::Unit::kRuns);
  const auto total = static_cast<int64_t>(contenders.size() * trials.size()) * options.repeat;
  int64_t done = 0;
  for (int32_t round = 0; round < options.repeat; ++round) {
    for (const Trial& trial : trials) {
      for (size_t i = 0; i < contenders.size(); ++i) {
        TESSERA_ASSIGN_OR_RETURN(const api::GenerateResult result,
                                 RunTrial(contenders[i], trial, options));
        tallies[i].Add(result);
        if (!progress.Update(++done, total)) return CheckStopped();
        if (trial.graded == nullptr) continue;
        const auto verdict = eval::Grade(result.text, *trial.graded);
        if (!verdict) continue;
        Tally::Task& task = tallies[i].tasks[trial.graded->task];
        ++tallies[i].graded, ++task.graded;
        tallies[i].right += verdict->right(), task.right += verdict->right();
      }
    }
  }
  return tallies;
}

std::string ComparisonTable(std::span<const Contender> contenders, std::span<const Tally> tallies) {
  std::vector<Table::Column> columns = {{"model", Table::Align::kLeft},
                                        {"strategy", Table::Align::kLeft},
                                        {"tokens/s"},
                                        {"tokens/forward"},
                                        {"rows/token"},
                                        {"ms/forward"},
                                        {"time"},
                                        {"GB/s"},
                                        {"", Table::Align::kLeft}};
  const bool graded = std::any_of(tallies.begin(), tallies.end(),
                                  [](const Tally& tally) { return tally.graded > 0; });
  if (graded) columns.insert(columns.begin() + 2, {"right"});
  const bool drift = std::any_of(tallies.begin(), tallies.end(),
                                 [](const Tally& tally) { return tally.drift_forwards > 0; });
  if (drift) columns.insert(columns.end() - 1, {"drift"});
  Table table(columns);
  for (size_t i = 0; i < contenders.size(); ++i) {
    const Tally& tally = tallies[i];
    const auto forwards = static_cast<double>(tally.forwards());
    const api::ModelInfo& info = contenders[i].model->info();
    std::vector<std::string> cells = {
        ShortName(info),
        contenders[i].strategy,
        Short(Median(tally.tokens_per_second)),
        Short(Ratio(static_cast<double>(tally.tokens), forwards)),
        Short(Ratio(static_cast<double>(tally.rows), static_cast<double>(tally.tokens))),
        Short(1e3 * Ratio(tally.seconds, forwards)),
        Time(tally.seconds),
        Short(Ratio(static_cast<double>(tally.weight_bytes), tally.seconds) / 1e9),
        ForwardsByKind(tally.full, tally.window, tally.finalise)};
    if (graded) cells.insert(cells.begin() + 2, Percent(tally.right, tally.graded));
    if (drift) {
      cells.insert(cells.end() - 1,
                   tally.drift_forwards == 0
                       ? ""
                       : Short(Ratio(tally.drift_sum, static_cast<double>(tally.drift_forwards))));
    }
    table.Row(cells);
  }
  return table.ToString();
}

std::string TaskTable(std::span<const Contender> contenders, std::span<const Tally> tallies) {
  std::set<std::string> tasks;
  std::vector<Table::Column> columns = {{"right, by task", Table::Align::kLeft}};
  for (size_t i = 0; i < contenders.size(); ++i) {
    columns.push_back({contenders[i].strategy});
    for (const auto& [task, result] : tallies[i].tasks) tasks.insert(task);
  }
  Table table(columns);
  for (const std::string& task : tasks) {
    std::vector<std::string> cells = {task};
    for (const Tally& tally : tallies) {
      const auto it = tally.tasks.find(task);
      cells.push_back(it == tally.tasks.end() ? "" : Percent(it->second.right, it->second.graded));
    }
    table.Row(cells);
  }
  return table.ToString();
}

Json ToJson(const Contender& contender, const Tally& tally) {
  const auto forwards = static_cast<double>(tally.forwards());
  Json json = {
      {"model", ShortName(contender.model->info())},
      {"strategy", contender.strategy},
      {"runs", tally.runs},
      {"tokens", tally.tokens},
      {"tokens_per_second", Median(tally.tokens_per_second)},
      {"tokens_per_forward", Ratio(static_cast<double>(tally.tokens), forwards)},
      {"ms_per_forward", 1e3 * Ratio(tally.seconds, forwards)},
      {"forwards",
       {{"total", tally.forwards()},
        {"full", tally.full},
        {"window", tally.window},
        {"finalise", tally.finalise}}},
      {"rows", tally.rows},
      {"reused_rows", tally.reused_rows},
      {"rows_per_token", Ratio(static_cast<double>(tally.rows), static_cast<double>(tally.tokens))},
      {"dropped", tally.dropped},
      {"drift",
       {{"forwards", tally.drift_forwards},
        {"mean", Ratio(tally.drift_sum, static_cast<double>(tally.drift_forwards))},
        {"max", tally.drift_max}}},
      {"seconds", tally.seconds},
      {"graded", tally.graded},
      {"right", tally.right}};
  Json tasks = Json::object();
  for (const auto& [task, result] : tally.tasks) {
    tasks[task] = {{"graded", result.graded}, {"right", result.right}};
  }
  json["tasks"] = tasks;
  return json;
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const size_t middle = values.size() / 2;
  std::sort(values.begin(), values.end());
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace tessera::cli
