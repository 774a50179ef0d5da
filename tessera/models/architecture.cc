#include "tessera/models/architecture.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace tessera::models {

const std::vector<const Architecture*>& Architectures() {
  static const std::vector<const Architecture*> architectures = {
      &architecture::Llama(),     &architecture::Qwen2(),     &architecture::Qwen3(),
      &architecture::Qwen3Moe(),  &architecture::LLaDA(),     &architecture::LLaDAMoe(),
      &architecture::LLaDA2Moe(), &architecture::Dream(),     &architecture::Sdar(),
      &architecture::SdarMoe(),   &architecture::FastDllmV2()};
  return architectures;
}

Result<const Architecture*> FindArchitecture(const JsonObject& config) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<std::string> classes,
                           config.GetStrings("architectures"));
  TESSERA_ASSIGN_OR_RETURN(const std::string model_type, config.GetStringOr("model_type", ""));
  for (const Architecture* architecture : Architectures()) {
    // The class decides where both are given: LLaDA-MoE shares LLaDA's model_type.
    const bool matches = classes.empty() ? architecture->model_type == model_type
                                         : std::find(classes.begin(), classes.end(),
                                                     architecture->class_name) != classes.end();
    if (matches) return architecture;
  }
  std::vector<std::string> known;
  for (const Architecture* architecture : Architectures()) {
    known.push_back(fmt::format("{} ({})", architecture->class_name, architecture->model_type));
  }
  return Unimplemented(
      "{}: unknown architecture {} (model_type '{}'); known: {}", config.name(),
      classes.empty() ? "(none given)" : fmt::format("{}", fmt::join(classes, "|")), model_type,
      fmt::join(known, ", "));
}

}  // namespace tessera::models
