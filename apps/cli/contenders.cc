#include "apps/cli/contenders.h"

#include <algorithm>

namespace tessera::cli {

std::vector<std::string> SplitStrategies(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(';', begin), text.size());
    std::string part = text.substr(begin, end - begin);
    part.erase(0, part.find_first_not_of(' '));
    part.erase(part.find_last_not_of(' ') + 1);
    if (!part.empty()) parts.push_back(part);
    begin = end + 1;
  }
  return parts;
}

std::string DefaultStrategies(const api::ModelInfo& info) {
  if (info.attention == "causal") return "ar;lookup";
  if (info.attention == "block-causal") return "threshold=2;threshold=0.9";
  return "threshold=2;threshold=0.9;threshold=0.9,cache=prefix;threshold=0.9,cache=dual";
}

Result<std::string> TwinPath(const std::string& asked, const ModelOptions& model,
                             const api::ModelInfo& info) {
  if (asked == "none") return std::string();
  if (!asked.empty()) return ResolveModel(asked);
  if (!model.model.empty() || info.attention == "causal") return std::string();
  const Result<std::string> path = FindDefaultModel(ModelKind::kCausal);
  return path.ok() ? *path : std::string();
}

Status CheckTwin(const api::ModelInfo& twin) {
  if (twin.attention == "causal") return OkStatus();
  return UsageError("--twin: {} is {}, accepted: a causal model", ShortName(twin), twin.attention);
}

}  // namespace tessera::cli
