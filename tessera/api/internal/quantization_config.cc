#include "tessera/api/internal/quantization_config.h"

#include <filesystem>
#include <map>

#include "tessera/api/tools.h"
#include "tessera/formats/quote.h"

namespace tessera::api {

using Json = nlohmann::ordered_json;

Json QuantizationConfig(const QuantizeOptions& options, const quantize::QuantizeReport& report,
                        const quantize::CalibrationSet* calibration) {
  Json config = {{"quant_method", "tessera"},      {"format_version", 1},
                 {"tessera_version", Version()},   {"method", options.method},
                 {"bits", options.bits},           {"group_size", options.group},
                 {"symmetric", options.symmetric}, {"embedding", options.embedding},
                 {"head", options.head},           {"modules_to_not_convert", report.kept}};
  if (options.method == "gptq") {
    config["gptq"] = {{"damping", options.damping}, {"act_order", options.act_order}};
  }
  config["calibration"] = nullptr;
  if (calibration != nullptr) {
    config["calibration"] = {
        {"texts", std::filesystem::path(options.calibration_name).filename().string()},
        {"num_texts", options.calibration.size()},
        {"sequences", calibration->sequences.size()},
        {"rows", calibration->rows},
        {"seed", options.seed},
        {"mask_ratio", calibration->maskable == 0
                           ? Json("none: causal")
                           : Json({{"drawn", "uniform in (0, 1), per sequence"},
                                   {"mean", calibration->mask_ratio()}})}};
  }
  Json& matrices = config["matrices"] = Json::object();
  for (const quantize::MatrixReport& matrix : report.matrices) {
    matrices[matrix.name] = {{"shape", matrix.matrix.shape},
                             {"bits", matrix.matrix.layout.bits},
                             {"group_size", matrix.matrix.layout.group},
                             {"symmetric", matrix.matrix.layout.symmetric}};
  }
  return config;
}

std::string DescribeQuantization(const nlohmann::json& config) {
  const auto object = JsonObject::Of(config, "config.json");
  if (!object.ok() || !HasQuantizationConfig(*object)) return "";
  const auto matrices = ParseQuantizationConfig(*object);
  if (!matrices.ok()) return "";
  std::map<std::string, int> counts;
  for (const auto& item : *matrices) ++counts[LayoutName(item.second.layout)];
  std::vector<std::string> parts;
  for (const auto& [layout, count] : counts) parts.push_back(fmt::format("{} x {}", count, layout));
  std::string line = fmt::format("{}", fmt::join(parts, ", "));
  const auto method = object->GetObject("quantization_config")->GetStringOr("method", "");
  if (method.ok() && !method->empty()) line += "; " + Printable(*method, 40);
  return line;
}

}  // namespace tessera::api
