// tessera inspect: what a checkpoint folder holds, without reading weights.
#include <algorithm>

#include "apps/cli/command.h"
#include "apps/cli/json_output.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/table.h"
#include "apps/cli/text_util.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

Json InspectionJson(const api::Inspection& inspection, bool tensors) {
  Json json = {{"model", ToJson(inspection.info)},
               {"file_bytes", inspection.file_bytes},
               {"quantization",
                inspection.quantization.empty() ? Json(nullptr) : Json(inspection.quantization)},
               {"tokenizer", inspection.tokenizer},
               {"num_tensors", inspection.tensors.size()}};
  if (tensors) {
    Json list = Json::array();
    for (const api::TensorInfo& tensor : inspection.tensors) {
      list.push_back({{"name", tensor.name},
                      {"dtype", tensor.dtype},
                      {"shape", tensor.shape},
                      {"bytes", tensor.bytes}});
    }
    json["tensors"] = list;
  }
  return json;
}

void Line(const std::string& name, const std::string& value) {
  Out().Print("{:<17}{}\n", name, value);
}

void Print(const api::Inspection& inspection) {
  const api::ModelInfo& info = inspection.info;
  Line("path", info.path);
  Line("architecture", info.architecture);
  Line("attention", info.block > 0 ? fmt::format("{}, blocks of {}", info.attention, info.block)
                                   : info.attention);
  Line("parameters", info.experts == 0
                         ? Count(info.parameters)
                         : fmt::format("{}, {} active in a row", Count(info.parameters),
                                       Count(info.active_parameters)));
  Line("files",
       fmt::format("{} in {} tensors", Bytes(inspection.file_bytes), inspection.tensors.size()));
  Line("layers",
       fmt::format("{} of width {}, {} heads of {}, {} of keys, feed-forward {}", info.layers,
                   info.width, info.heads, info.head_dim, info.kv_heads, info.ffn_width));
  if (info.experts > 0) {
    const std::string shared =
        info.shared_width == 0 ? "" : fmt::format(", a shared one of {}", info.shared_width);
    Line("experts",
         fmt::format("{} of width {} in {} layers, {} per row{}", info.experts, info.expert_width,
                     info.mixture_layers, info.experts_per_row, shared));
  }
  Line("vocabulary", Thousands(info.vocab));
  Line("context", fmt::format("{} tokens", Thousands(info.context)));
  if (!inspection.quantization.empty()) Line("quantization", inspection.quantization);
  Line("tokenizer", inspection.tokenizer);
  Line("chat template", info.has_chat_template ? "yes" : "no");
  Line("mask token", info.mask_id < 0 ? "none" : std::to_string(info.mask_id));
  Line("end of text", fmt::format("{}", fmt::join(info.stop_ids, ", ")));
  Line("default strategy", info.default_strategy);
  if (info.shifted_logits) Line("logits", "row i predicts position i + 1");
}

void PrintTensors(const std::vector<api::TensorInfo>& tensors) {
  Table table(
      {{"tensor", Table::Align::kLeft}, {"dtype", Table::Align::kLeft}, {"shape"}, {"size"}});
  for (const api::TensorInfo& tensor : tensors) {
    table.Row({tensor.name, tensor.dtype, fmt::format("{}", fmt::join(tensor.shape, " x ")),
               Bytes(tensor.bytes)});
  }
  Out().Write("\n" + table.ToString());
}

}  // namespace

Status InspectCommand(const Args& args) {
  std::string path;
  bool tensors = false, json = false;
  Parser parser("inspect", "Shows what a checkpoint folder holds; reads headers, no weights.");
  parser.Positional("MODEL", &path, "checkpoint folder or name in models/; default: as `run`");
  parser.Flag("--tensors", &tensors, "list every tensor");
  parser.Flag("--json", &json, "one JSON object");
  parser.Footer(
      "Examples:\n"
      "  tessera inspect\n"
      "  tessera inspect ~/models/Dream-7B --tensors\n");
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  if (!go_on) return OkStatus();
  path = ResolveModel(path);
  if (path.empty()) {
    TESSERA_ASSIGN_OR_RETURN(path, FindDefaultModel(ModelKind::kDiffusion));
  }
  TESSERA_ASSIGN_OR_RETURN(const api::Inspection inspection, api::InspectModel(path));
  if (json) {
    PrintJson(InspectionJson(inspection, tensors));
    return OkStatus();
  }
  Print(inspection);
  if (tensors) PrintTensors(inspection.tensors);
  return OkStatus();
}

}  // namespace tessera::cli
