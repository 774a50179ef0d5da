// tessera replay: a recorded trajectory, run again and compared step by step.
#include <filesystem>
#include <map>

#include "apps/cli/command.h"
#include "apps/cli/json_output.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/progress.h"
#include "apps/eval/fingerprint.h"
#include "apps/eval/recording.h"

namespace tessera::cli {
namespace {

// Confidences of two instruction sets differ by their rounding, about 1e-3 with bf16 weights; a
// wrong one is far off.
constexpr float kDefaultTolerance = 0.01f;

// The recorded path, or a model of that name in models/.
std::string FindRecorded(const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(path, error)) return path;
  return ResolveModel(std::filesystem::path(path).filename().string());
}

// "avx2" of "cpu:avx2".
std::string IsaOf(const std::string& device) {
  constexpr std::string_view kCpu = "cpu:";
  return device.starts_with(kCpu) ? device.substr(kCpu.size()) : "auto";
}

// As it was recorded, unless the options say otherwise.
Result<std::unique_ptr<api::Model>> LoadRecorded(const eval::RecordedRun& run,
                                                 const ModelOptions& options) {
  ModelOptions model = options;
  if (model.model.empty()) model.model = FindRecorded(run.model);
  if (model.dtype == "auto") model.dtype = run.dtype;
  if (model.isa == "auto") model.isa = IsaOf(run.device);
  Result<std::unique_ptr<api::Model>> loaded = LoadModel(model);
  if (!loaded.ok() && options.isa == "auto" && model.isa != "auto" &&
      loaded.status().message().find(model.isa) != std::string::npos) {
    model.isa = "auto";  // this machine has other instructions
    return LoadModel(model);
  }
  return loaded;
}

}  // namespace

Status ReplayCommand(const Args& args) {
  ModelOptions options;
  std::string path;
  float tolerance = kDefaultTolerance;
  bool json = false;
  Parser parser("replay", "Runs a recorded trajectory again and compares every step.");
  parser.Positional("FILE", &path, "what `tessera run --record` or `tessera eval --record` wrote")
      .Required();
  parser.Text("-m,--model", &options.model, "MODEL", "another model than the recorded one");
  parser.Float("--tolerance", &tolerance, 0, 1,
               "difference of confidences that is none; default 0.01");
  parser.Flag("--json", &json, "one JSON object");
  AddLoadOptions(parser, &options);
  parser.Footer(
      "Exit code 1 and the first step and position that differ, or 0 when nothing does.\n"
      "\n"
      "Examples:\n"
      "  tessera run --record steps.jsonl \"Sort: delta, alpha, bravo\"\n"
      "  tessera replay steps.jsonl\n");
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  if (!go_on) return OkStatus();

  TESSERA_ASSIGN_OR_RETURN(const std::string text, eval::ReadText(path, "a recording"));
  TESSERA_ASSIGN_OR_RETURN(const std::vector<eval::RecordedRun> runs,
                           eval::ParseRecording(text, path));
  Progress progress("replaying", Progress::Unit::kRuns);
  std::map<std::string, std::unique_ptr<api::Model>> models;  // by recorded path
  int64_t steps = 0;
  for (const eval::RecordedRun& run : runs) {
    std::unique_ptr<api::Model>& model = models[run.model];
    if (model == nullptr) {
      TESSERA_ASSIGN_OR_RETURN(model, LoadRecorded(run, options));
      TESSERA_ASSIGN_OR_RETURN(const std::string hash,
                               eval::FingerprintOfModel(model->info().path));
      if (options.model.empty() && hash != run.model_hash) {
        return Failure(
            "{}: {} is not the recorded model (its fingerprint is {}, recorded {}); "
            "-m compares with it all the same",
            path, model->info().path, hash, run.model_hash);
      }
    }
    TESSERA_ASSIGN_OR_RETURN(const eval::RecordedRun again, eval::RunAgain(*model, run));
    const std::string difference = eval::FirstDifference(run, again, tolerance, *model);
    steps += static_cast<int64_t>(again.steps.size());
    if (!difference.empty()) {
      return Failure("{}: run {}, {}", path, run.run, difference);
    }
    if (!progress.Update(run.run + 1, static_cast<int64_t>(runs.size()))) return CheckStopped();
  }
  if (json) {
    PrintJson({{"runs", runs.size()}, {"steps", steps}, {"same", true}});
  } else {
    Out().Print("{} run{}, {} steps: the same\n", runs.size(), runs.size() == 1 ? "" : "s", steps);
  }
  return OkStatus();
}

}  // namespace tessera::cli
