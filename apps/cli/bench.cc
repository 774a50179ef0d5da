// tessera bench: strategies and models side by side, or forwards alone.
#include <algorithm>

#include "apps/cli/command.h"
#include "apps/cli/comparison.h"
#include "apps/cli/contenders.h"
#include "apps/cli/json_output.h"
#include "apps/cli/metrics.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/prompt.h"
#include "apps/cli/table.h"
#include "apps/cli/text_util.h"

namespace tessera::cli {
namespace {

constexpr const char* kExamples =
    "Without --cases, --prompt or --ids the cases are 44 of models/heldout.jsonl.\n"
    "A case is one JSON object per line: {task, prompt or messages, answer, grader, meta}. "
    "Graders:\n"
    "exact (default), shuffle, latin, insert_any, remove_any, replace_any, none.\n"
    "\n"
    "Examples:\n"
    "  tessera bench\n"
    "  tessera bench --strategies \"threshold=2;threshold=0.9;factor\" --limit 200 --by-task\n"
    "  tessera bench -m ~/models/LLaDA-8B --twin none --prompt \"Explain tides.\" --repeat 5\n"
    "  tessera bench --forward -m /tmp/llada-8b --rows 1,8,32 --keys 512\n"
    "  tessera bench cpu --help      LLaDA-8B's shapes against this machine's limits\n"
    "  tessera bench gpu --help      the same of four networks on a GPU\n";

struct BenchOptions {
  ModelOptions model;
  std::string twin, strategies, twin_strategies, cases_path, ids, rows = "1,2,4,8,16,32,64,128";
  std::vector<std::string> prompts;
  int32_t limit = -1;
  int32_t max_tokens = 64, repeat = 1, keys = 256;
  bool forward = false, by_task = false, json = false;
};

Result<bool> ParseBench(const Args& args, BenchOptions* options) {
  Parser parser("bench",
                "Compares strategies and the autoregressive twin: speed, forwards, accuracy.");
  AddModelOptions(parser, &options->model);
  parser.Text("--twin", &options->twin, "AR_MODEL",
              "causal model to compare with; default: the one in models/; none: no twin");
  parser.Text("--strategies", &options->strategies, "\"A;B\"",
              "strategies of the model; default: one by one, parallel, each cache");
  parser.Text("--twin-strategies", &options->twin_strategies, "\"A;B\"",
              "strategies of the twin; default: \"ar;lookup\"");
  parser.Int("-n,--max-tokens", &options->max_tokens, 1, 1 << 20,
             "new tokens at most, more when an answer needs it; default 64");
  parser.Int("--repeat", &options->repeat, 1, 100'000, "runs of each prompt; default 1");
  parser.Flag("--json", &options->json, "one JSON object");
  parser.Group("Prompts");
  const Option cases =
      parser.Text("--cases", &options->cases_path, "FILE", "questions with answers, JSON lines");
  parser.Int("--limit", &options->limit, 0, 1'000'000,
             "that many of the cases, evenly spread; 0: all");
  const Option prompt = parser.Texts("--prompt", &options->prompts, "TEXT",
                                     "a prompt without an answer; may be repeated");
  const Option ids = parser.Text("--ids", &options->ids, "1,2,3", "a prompt as token ids");
  parser.Flag("--by-task", &options->by_task, "also accuracy by task");
  parser.Group("Forwards alone");
  parser.Flag("--forward", &options->forward, "milliseconds per forward by number of rows");
  parser.Text("--rows", &options->rows, "1,2,4", "rows of a forward; default 1,2,4,...,128");
  parser.Int("--keys", &options->keys, 0, 1 << 24, "cached positions to attend to; default 256");
  AddLoadOptions(parser, &options->model);
  ids.Excludes(cases).Excludes(prompt);
  prompt.Excludes(cases);
  parser.Footer(kExamples);
  return parser.Parse(args);
}

Status BenchForwards(const BenchOptions& options) {
  std::vector<int32_t> rows;
  {
    Result<std::vector<api::TokenId>> parsed = ParseIds(options.rows);
    if (!parsed.ok() || *std::min_element(parsed->begin(), parsed->end()) < 1) {
      return UsageError("--rows: got '{}', accepted: numbers of 1 or more, separated by commas",
                        OneLine(options.rows, 40));
    }
    rows = *parsed;
  }
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<api::Model> model, LoadModel(options.model));
  const api::ModelInfo& info = model->info();
  const int32_t repeats = std::max(3, options.repeat);
  std::vector<api::ForwardTiming> timings;
  Json list = Json::array();
  Table table({{"rows"}, {"ms"}, {"times one row"}, {"GB/s of weights"}, {"rows/s"}});
  for (const int32_t count : rows) {
    TESSERA_ASSIGN_OR_RETURN(
        const api::ForwardTiming timing,
        model->TimeForward({.sequences = 1, .rows = count, .keys = options.keys}, repeats));
    TESSERA_RETURN_IF_ERROR(CheckStopped());
    timings.push_back(timing);
    const double ratio = timing.seconds / timings.front().seconds;
    const double gb_per_second = static_cast<double>(timing.weight_bytes) / timing.seconds / 1e9;
    const std::string base = rows.front() == 1 ? fmt::format("{:.2f}", ratio) : "";
    table.Row({std::to_string(count), Short(1e3 * timing.seconds), base, Short(gb_per_second),
               Short(count / timing.seconds)});
    list.push_back({{"rows", count},
                    {"keys", options.keys},
                    {"ms", 1e3 * timing.seconds},
                    {"weights_gb_per_second", gb_per_second}});
    if (rows.front() == 1) list.back()["times_one_row"] = ratio;
  }
  if (options.json) {
    PrintJson({{"model", ToJson(info)}, {"forwards", list}});
    return OkStatus();
  }
  Out().Print("{}: {} of {} weights on {}, {} cached keys\n\n{}", ShortName(info),
              Bytes(info.weight_bytes), info.dtype, info.device, options.keys, table.ToString());
  return OkStatus();
}

Status AddContenders(api::Model& model, const std::string& strategies,
                     std::vector<Contender>* contenders) {
  const auto parts =
      SplitStrategies(strategies.empty() ? DefaultStrategies(model.info()) : strategies);
  if (parts.empty()) {
    return UsageError("strategies: got '{}', accepted: strategy texts separated by ;", strategies);
  }
  for (const std::string& strategy : parts) {
    TESSERA_RETURN_IF_ERROR(model.CheckStrategy(strategy));
    contenders->push_back({.model = &model, .strategy = strategy});
  }
  return OkStatus();
}

// The twin that was asked for, the default one if there is one, or null.
Result<std::unique_ptr<api::Model>> LoadTwin(const BenchOptions& options, const api::Model& model) {
  ModelOptions twin = options.model;
  twin.mask_id = -1;
  TESSERA_ASSIGN_OR_RETURN(twin.model, TwinPath(options.twin, options.model, model.info()));
  if (twin.model.empty()) return std::unique_ptr<api::Model>();
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<api::Model> loaded, LoadModel(twin, ModelKind::kCausal));
  TESSERA_RETURN_IF_ERROR(CheckTwin(loaded->info()));
  return loaded;
}

Result<std::vector<Case>> LoadCases(const BenchOptions& options) {
  constexpr int32_t kDefaultLimit = 44;  // two of each task of models/heldout.jsonl
  std::vector<Case> cases;
  if (!options.ids.empty()) return cases;
  if (!options.prompts.empty()) {
    for (const std::string& prompt : options.prompts) {
      cases.push_back({.task = "prompt",
                       .messages = {{.role = "user", .content = prompt}},
                       .answer = "",
                       .grader = "none",
                       .meta = nullptr});
    }
    return cases;
  }
  std::string path = options.cases_path;
  int32_t limit = options.limit < 0 ? 0 : options.limit;
  if (path.empty()) {
    path = FindInModels("heldout.jsonl");
    if (path.empty()) {
      return UsageError(
          "no cases: there is no models/heldout.jsonl; pass --cases FILE, --prompt "
          "TEXT or --ids 1,2,3");
    }
    if (options.limit < 0) limit = kDefaultLimit;
  }
  TESSERA_ASSIGN_OR_RETURN(cases, eval::ReadCases(path));
  return eval::Spread(cases, static_cast<size_t>(limit));
}

Status BenchStrategies(const BenchOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<Case> cases, LoadCases(options));
  std::vector<Trial> trials;
  for (const Case& c : cases) trials.push_back({.graded = &c, .ids = {}});
  if (!options.ids.empty()) {
    TESSERA_ASSIGN_OR_RETURN(const std::vector<api::TokenId> ids, ParseIds(options.ids));
    trials.push_back({.graded = nullptr, .ids = ids});
  }
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<api::Model> model, LoadModel(options.model));
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<api::Model> twin, LoadTwin(options, *model));
  std::vector<Contender> contenders;
  TESSERA_RETURN_IF_ERROR(
      AddContenders(*model, options.strategies, &contenders).WithContext("--strategies"));
  if (twin != nullptr) {
    TESSERA_RETURN_IF_ERROR(AddContenders(*twin, options.twin_strategies, &contenders)
                                .WithContext("--twin-strategies"));
  }
  TESSERA_ASSIGN_OR_RETURN(
      const std::vector<Tally> tallies,
      Compare(contenders, trials, {.max_tokens = options.max_tokens, .repeat = options.repeat}));
  if (options.json) {
    Json results = Json::array();
    for (size_t i = 0; i < contenders.size(); ++i) {
      results.push_back(ToJson(contenders[i], tallies[i]));
    }
    Json json = {{"model", ToJson(model->info())}};
    json["twin"] = twin == nullptr ? Json(nullptr) : ToJson(twin->info());
    json["prompts"] = trials.size();
    json["repeat"] = options.repeat;
    json["results"] = results;
    PrintJson(json);
    return OkStatus();
  }
  Out().Print("{} prompts, {} of each, on {}\n\n{}", trials.size(), options.repeat,
              model->info().device, ComparisonTable(contenders, tallies));
  if (options.by_task) Out().Write("\n" + TaskTable(contenders, tallies));
  return OkStatus();
}

}  // namespace

Status BenchCommand(const Args& args) {
  if (!args.empty() && args.front() == "cpu")
    return BenchCpuCommand({args.begin() + 1, args.end()});
  if (!args.empty() && args.front() == "gpu")
    return BenchGpuCommand({args.begin() + 1, args.end()});
  BenchOptions options;
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, ParseBench(args, &options));
  if (!go_on) return OkStatus();
  return options.forward ? BenchForwards(options) : BenchStrategies(options);
}

}  // namespace tessera::cli
