// tessera eval: quality and cost of strategies on tasks; one comparison, or a sweep with memory.
#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>
#include <optional>

#include "apps/cli/command.h"
#include "apps/cli/contenders.h"
#include "apps/cli/eval_output.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/progress.h"
#include "apps/cli/terminal.h"
#include "apps/cli/text_util.h"
#include "apps/eval/fingerprint.h"
#include "apps/eval/recording.h"
#include "apps/eval/results_page.h"
#include "apps/eval/sweep_run.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExamples =
    "Tasks are paths; a folder means all tasks in it (`tessera eval --list`). ParallelBench is "
    "made\n"
    "freshly, or read from its own files with --data FOLDER; GSM8K's format always needs --data.\n"
    "\n"
    "A sweep is a file or a text of items, one per line or separated by \";\":\n"
    "  limit N, batch N, max-tokens N, seed N, temperature X, grid NAME, task NAME[=A,B] ...,\n"
    "  model NAME, curve NAME, strategy TEXT with {choices,in,braces}, note TEXT\n"
    "It writes PREFIX.jsonl (its memory: rows in it are not run again), .csv, .json, .svg, .png.\n"
    "\n"
    "Examples:\n"
    "  tessera eval\n"
    "  tessera eval --task parallelbench/waiting_line --strategies \"threshold=2;threshold=0.9\"\n"
    "  tessera eval --task gsm8k --data ~/gsm8k/test.jsonl -m ~/models/LLaDA-8B --limit 100\n"
    "  tessera eval --sweep \"task arithmetic grid/sudoku; strategy threshold={2,0.9,0.5}\" \\\n"
    "      --out build/sweep\n"
    "  tessera eval --sweep bench/results.sweep --results docs/results.md --only threshold=0.9\n";

constexpr int32_t kDefaultLimit = 5;  // cases per task: the whole default comparison within minutes

struct EvalOptions {
  ModelOptions model;
  std::string twin, strategies, twin_strategies, cases_path, data;
  std::vector<std::string> tasks, only;
  int32_t limit = kDefaultLimit, batch = 32, max_tokens = 64;
  float temperature = 0;
  uint64_t seed = 0;
  std::string sweep, out, results, record, outputs;
  bool fresh = false, list = false, by_task = false, json = false;
};

Result<bool> ParseEval(const Args& args, EvalOptions* options) {
  Parser parser("eval", "Measures quality and cost of strategies on tasks.");
  AddModelOptions(parser, &options->model);
  const Option twin =
      parser.Text("--twin", &options->twin, "AR_MODEL",
                  "causal model to compare with; default: the one in models/; none: no twin");
  const Option strategies =
      parser.Text("--strategies", &options->strategies, "\"A;B\"",
                  "strategies of the model; default: one by one, parallel, each cache");
  parser.Text("--twin-strategies", &options->twin_strategies, "\"A;B\"",
              "strategies of the twin; default: \"ar;lookup\"");
  const Option limit = parser.Int("--limit", &options->limit, 0, 1'000'000,
                                  "cases per task, evenly spread; 0: all; default 5");
  parser.Int("--batch", &options->batch, 1, 4096,
             "cases decoded at once; does not change outputs; default 32");
  parser.Int("-n,--max-tokens", &options->max_tokens, 1, 1 << 20,
             "new tokens at most, more when an answer needs it; default 64");
  parser.Float("--temperature", &options->temperature, 0, 100, "0: always the likeliest token");
  parser.Seed(&options->seed, "of sampling and of fresh cases; default 0");
  parser.Flag("--json", &options->json, "one JSON object");
  parser.Flag("--by-task", &options->by_task, "also accuracy by task");
  parser.Group("Tasks");
  const Option task = parser.Texts("--task", &options->tasks, "NAME[=A,B]",
                                   "a task, a folder of tasks, or a named group; may be repeated; "
                                   "default: heldout, infill");
  parser.Flag("--list", &options->list, "every task, and why some cannot be run here");
  parser.Text("--data", &options->data, "PATH",
              "files of ParallelBench or GSM8K, or a folder with them");
  parser.Text("--cases", &options->cases_path, "FILE",
              "cases of the heldout tasks, JSON lines; default: models/heldout.jsonl");
  parser.Group("Sweeps");
  const Option sweep =
      parser.Text("--sweep", &options->sweep, "FILE|TEXT", "run what a file or a text says");
  parser.Text("--out", &options->out, "PREFIX", "files to write, and to resume from");
  parser.Text("--results", &options->results, "PAGE.md", "write the sweep as a page");
  parser.Texts("--only", &options->only, "NAME",
               "run the rows of this strategy, curve, model or task group again and say whether "
               "they came out as recorded; may be repeated");
  parser.Flag("--fresh", &options->fresh, "run recorded rows again");
  parser.Group("Records");
  parser.Text("--record", &options->record, "FILE", "every step, for tessera replay");
  parser.Text("--outputs", &options->outputs, "FILE", "every output and its grade, JSON lines");
  AddLoadOptions(parser, &options->model);
  sweep.Excludes(task).Excludes(strategies).Excludes(twin).Excludes(limit);
  parser.Footer(kExamples);
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  if (!go_on) return false;
  const bool sweeping = !options->sweep.empty();
  if (!sweeping && (!options->results.empty() || !options->only.empty())) {
    return UsageError("eval: --results and --only need --sweep");
  }
  if (!options->results.empty() && !options->results.ends_with(".md")) {
    return UsageError("--results: got '{}', accepted: a file ending in .md",
                      OneLine(options->results, 60));
  }
  return true;
}

// The sweep that the other options describe.
Result<eval::Sweep> SweepFromOptions(const EvalOptions& options) {
  ModelOptions model = options.model;
  if (model.model.empty()) {
    TESSERA_ASSIGN_OR_RETURN(model.model, FindDefaultModel(ModelKind::kDiffusion));
  } else {
    model.model = ResolveModel(model.model);
  }
  TESSERA_ASSIGN_OR_RETURN(const api::Inspection inspection, api::InspectModel(model.model));
  TESSERA_ASSIGN_OR_RETURN(const std::string twin,
                           TwinPath(options.twin, options.model, inspection.info));
  eval::SweepGrid grid;
  grid.name = "eval";
  grid.settings = {.limit = options.limit,
                   .batch = options.batch,
                   .max_tokens = options.max_tokens,
                   .seed = options.seed,
                   .temperature = options.temperature};
  const auto add = [&](const std::string& path, const std::string& strategies,
                       const char* option) -> Status {
    const std::vector<std::string> parts = SplitStrategies(strategies);
    if (parts.empty()) {
      return UsageError("{}: got '{}', accepted: strategy texts separated by ;", option,
                        strategies);
    }
    for (const std::string& part : parts) {
      grid.entries.push_back({.model = path, .curve = "", .strategy = part});
    }
    return OkStatus();
  };
  TESSERA_RETURN_IF_ERROR(
      add(model.model,
          options.strategies.empty() ? DefaultStrategies(inspection.info) : options.strategies,
          "--strategies"));
  if (!twin.empty()) {
    TESSERA_ASSIGN_OR_RETURN(const api::Inspection inspected, api::InspectModel(twin));
    TESSERA_RETURN_IF_ERROR(CheckTwin(inspected.info));
    TESSERA_RETURN_IF_ERROR(add(twin,
                                options.twin_strategies.empty() ? DefaultStrategies(inspected.info)
                                                                : options.twin_strategies,
                                "--twin-strategies"));
  }
  std::string text;
  for (const std::string& task : options.tasks) text += "task " + task + "\n";
  if (options.tasks.empty()) text = "task heldout infill\n";
  TESSERA_ASSIGN_OR_RETURN(const eval::Sweep parsed,
                           eval::ParseSweep(text + "strategy -", "--task"));
  grid.groups = parsed.grids[0].groups;
  return eval::Sweep{.grids = {std::move(grid)}};
}

Result<eval::Sweep> LoadSweep(const EvalOptions& options) {
  if (options.sweep.empty()) return SweepFromOptions(options);
  std::error_code error;
  if (fs::is_regular_file(options.sweep, error)) {
    TESSERA_ASSIGN_OR_RETURN(const std::string text, eval::ReadText(options.sweep, "a sweep"));
    return eval::ParseSweep(text, options.sweep);
  }
  if (options.sweep.find(' ') == std::string::npos) {
    return Failure(
        "--sweep {}: no such file; accepted: a file, or a text such as \"task "
        "arithmetic; strategy threshold={{2,0.9}}\"",
        OneLine(options.sweep, 60));
  }
  return eval::ParseSweep(options.sweep, "--sweep");
}

// As the kernel names it; "" where it does not say.
std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) {
      return line.substr(line.find(": ") + 2);
    }
  }
  return "";
}

// Writes what --record and --outputs ask for while rows run.
class Records {
 public:
  Status Open(const EvalOptions& options) {
    if (!options.record.empty()) {
      TESSERA_ASSIGN_OR_RETURN(recorder_, eval::Recorder::Open(options.record, api::Version()));
    }
    if (!options.outputs.empty()) {
      outputs_.open(options.outputs, std::ios::binary | std::ios::trunc);
      if (!outputs_) return Failure("{}: cannot be written", options.outputs);
      outputs_path_ = options.outputs;
    }
    return OkStatus();
  }
  void Connect(eval::SweepRunOptions* run) {
    if (recorder_ != nullptr) {
      run->on_request = [this](api::Model& model, const eval::RowSettings& settings,
                               api::GenerateRequest* request) {
        runs_.push_back(recorder_->Follow(model.info(), settings.model_hash, request));
      };
    }
    run->on_outcome = [this](const eval::RowSettings& settings, const eval::Outcome& outcome) {
      if (recorder_ != nullptr) {
        recorder_->End(runs_.front(), outcome.result->finish_reason, outcome.result->output);
        runs_.pop_front();
      }
      if (outputs_.is_open()) WriteOutput(settings, outcome);
    };
  }
  Status Finish() {
    if (recorder_ != nullptr) TESSERA_RETURN_IF_ERROR(recorder_->Finish());
    if (!runs_.empty()) return Failure("--record: a row was refused; the recording is not whole");
    if (!outputs_path_.empty()) {
      outputs_.close();
      if (!outputs_) return Failure("{}: could not be written to its end", outputs_path_);
    }
    return OkStatus();
  }

 private:
  void WriteOutput(const eval::RowSettings& settings, const eval::Outcome& outcome) {
    const Json line = {{"model", settings.model},
                       {"strategy", settings.strategy},
                       {"task", settings.task},
                       {"prompt", outcome.c->messages.back().content},
                       {"answer", outcome.c->answer},
                       {"output", outcome.output},
                       {"score", outcome.verdict.score},
                       {"strict", outcome.verdict.strict},
                       {"forwards", outcome.result->metrics.forwards()}};
    outputs_ << line.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  }

  std::unique_ptr<eval::Recorder> recorder_;
  std::deque<int64_t> runs_;
  std::ofstream outputs_;
  std::string outputs_path_;
};

Result<eval::SweepOutcome> Run(const EvalOptions& options, const eval::Sweep& sweep,
                               eval::TaskSource* tasks, const std::string& prefix) {
  Progress progress("evaluating", Progress::Unit::kRuns);
  eval::SweepRunOptions run;
  run.rows_path = prefix.empty() ? "" : prefix + ".jsonl";
  run.version = api::Version();
  run.machine = ProcessorName();
  run.only = options.only;
  run.fresh = options.fresh || !options.only.empty();
  run.resolve = [&](const std::string& name) -> Result<std::string> {
    const std::string path = ResolveModel(name.empty() ? options.model.model : name);
    return path.empty() ? FindDefaultModel(ModelKind::kDiffusion) : path;
  };
  run.load = [&](const std::string& path) {
    ModelOptions model = options.model;
    if (!options.model.model.empty() && path != ResolveModel(options.model.model)) {
      model.mask_id = -1;  // that of another model
    }
    model.model = path;
    return LoadModel(model);
  };
  run.progress = [&](int64_t done, int64_t total) { progress.Update(done, total); };
  run.keep_going = [] { return StopSignal() == 0 && Out().ok(); };
  Records records;
  TESSERA_RETURN_IF_ERROR(records.Open(options));
  records.Connect(&run);
  Result<eval::SweepOutcome> outcome = eval::RunSweep(sweep, tasks, run);
  TESSERA_RETURN_IF_ERROR(CheckStopped());
  if (outcome.ok()) TESSERA_RETURN_IF_ERROR(records.Finish());
  return outcome;
}

Status WritePage(const EvalOptions& options, const std::vector<eval::GridReport>& reports,
                 const std::vector<std::string>& charts) {
  eval::PageContext context{.command = fmt::format("tessera eval --sweep {} --results {}",
                                                   options.sweep, options.results),
                            .sweep = options.sweep,
                            .charts = {}};
  for (const std::string& chart : charts) {
    context.charts.push_back(
        fs::path(chart).lexically_proximate(fs::path(options.results).parent_path()).string());
  }
  return eval::WriteWhole(options.results, eval::MakePage(reports, context));
}

}  // namespace

Status EvalCommand(const Args& args) {
  EvalOptions options;
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, ParseEval(args, &options));
  if (!go_on) return OkStatus();
  eval::TaskSource tasks(
      {.heldout = options.cases_path.empty() ? FindInModels("heldout.jsonl") : options.cases_path,
       .data = options.data});
  if (options.list) {
    TESSERA_ASSIGN_OR_RETURN(const std::vector<eval::TaskInfo> list, tasks.List());
    if (options.json) {
      PrintJson(TaskListJson(list));
    } else {
      Out().Write(TaskListText(list));
    }
    return OkStatus();
  }
  TESSERA_ASSIGN_OR_RETURN(const eval::Sweep sweep, LoadSweep(options));
  std::string prefix = options.out;
  if (prefix.empty() && !options.results.empty()) {
    prefix = options.results.substr(0, options.results.size() - 3);
  }
  TESSERA_ASSIGN_OR_RETURN(const eval::SweepOutcome outcome, Run(options, sweep, &tasks, prefix));
  std::vector<std::string> charts;
  if (!prefix.empty()) {
    TESSERA_ASSIGN_OR_RETURN(
        charts, WriteSweepFiles(outcome.reports, prefix,
                                options.out.empty() ? SweepFiles::kChartsOnly : SweepFiles::kAll));
  }
  if (!options.results.empty()) {
    TESSERA_RETURN_IF_ERROR(WritePage(options, outcome.reports, charts));
  }
  if (options.json) {
    Json json = ReportJson(outcome.reports);
    json["ran"] = outcome.ran;
    json["kept"] = outcome.kept;
    json["reproduced"] = outcome.reproduced;
    json["changed"] = outcome.changed;
    PrintJson(json);
  } else if (options.results.empty()) {
    Out().Write(ReportText(outcome.reports, options.by_task));
  }
  if (!options.json && !prefix.empty()) {
    Out().Print("{} rows run, {} kept from before; {} reproduced, {} changed\n", outcome.ran,
                outcome.kept, outcome.reproduced, outcome.changed.size());
    for (const std::string& change : outcome.changed) Out().Print("  {}\n", change);
  }
  return OkStatus();
}

}  // namespace tessera::cli
