// tessera doctor: what this machine offers and what would be used.
#include <unistd.h>

#include "apps/cli/command.h"
#include "apps/cli/json_output.h"
#include "apps/cli/metrics.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/terminal.h"
#include "apps/cli/text_util.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

// A model that `tessera run` or `tessera bench` would use, or why there is none.
struct DefaultModel {
  std::string title, path, problem;
};

std::vector<DefaultModel> DefaultModels() {
  std::vector<DefaultModel> models;
  for (const auto& [title, kind] : {std::pair{"default model", ModelKind::kDiffusion},
                                    std::pair{"default twin", ModelKind::kCausal}}) {
    Result<std::string> path = FindDefaultModel(kind);
    if (path.ok()) {
      const auto inspection = api::InspectModel(*path);
      const std::string problem = inspection.ok() ? "" : inspection.status().message();
      models.push_back({.title = title, .path = *path, .problem = problem});
    } else {
      models.push_back({.title = title, .path = "", .problem = path.status().message()});
    }
  }
  return models;
}

void Line(const std::string& name, const std::string& value) {
  Out().Print("{:<16}{}\n", name, value);
}

void Print(const api::MachineReport& report, const std::vector<DefaultModel>& models) {
  const Style style(WantsColor(STDOUT_FILENO));
  Line("tessera", api::Version());
  Line("processor", fmt::format("{}, {} cores", report.cpu, report.cores));
  Line("instructions", fmt::format("{}{}", fmt::join(report.isas, ", "),
                                   report.isas.empty() ? "" : "; the last one is used"));
  Line("memory",
       fmt::format("{}, {} of it free", Bytes(report.memory_bytes), Bytes(report.available_bytes)));
  Line("reading",
       fmt::format("{} GB/s with one core, {} GB/s with all: the ceiling of one token "
                   "per forward",
                   Short(report.read_gb_per_second_one), Short(report.read_gb_per_second_all)));
  for (size_t i = 0; i < report.gflops.size(); ++i) {
    Line(i == 0 ? "computing" : "",
         fmt::format("{:<18}{} {}", report.gflops[i].first, Short(report.gflops[i].second),
                     report.gflops[i].first.ends_with("int8") ? "GOP/s" : "GFLOP/s"));
  }
  for (size_t i = 0; i < report.devices.size(); ++i) {
    Line(i == 0 ? "GPUs" : "", report.devices[i]);
  }
  for (const DefaultModel& model : models) {
    Line(model.title, model.problem.empty() ? style.Green("ok ") + " " + model.path
                                            : style.Red("no ") + " " + model.problem);
  }
  std::vector<std::string> names;
  for (const api::ArchitectureInfo& architecture : api::ListArchitectures()) {
    names.push_back(architecture.name);
  }
  Line("architectures", fmt::format("{}", fmt::join(names, ", ")));
}

}  // namespace

Status DoctorCommand(const Args& args) {
  bool json = false;
  Parser parser("doctor", "Shows what this machine offers and what would be used.");
  parser.Flag("--json", &json, "one JSON object");
  parser.Footer("Examples:\n  tessera doctor\n");
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  if (!go_on) return OkStatus();
  const api::MachineReport report = api::ExamineMachine();
  const std::vector<DefaultModel> models = DefaultModels();
  if (!json) {
    Print(report, models);
    return OkStatus();
  }
  Json object = {{"version", api::Version()}, {"machine", ToJson(report)}};
  for (const DefaultModel& model : models) {
    object[model.title == "default model" ? "default_model" : "default_twin"] = {
        {"path", model.path}, {"problem", model.problem}};
  }
  Json architectures = Json::array();
  for (const api::ArchitectureInfo& architecture : api::ListArchitectures()) {
    architectures.push_back({{"name", architecture.name},
                             {"class", architecture.class_name},
                             {"model_type", architecture.model_type},
                             {"default_strategy", architecture.default_strategy}});
  }
  object["architectures"] = architectures;
  PrintJson(object);
  return OkStatus();
}

}  // namespace tessera::cli
