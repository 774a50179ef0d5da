// The library's structs as JSON, with the same names in every command.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/cli/metrics.h"
#include "tessera/api/model.h"
#include "tessera/api/tools.h"

namespace tessera::cli {

using Json = nlohmann::ordered_json;

Json ToJson(const api::ModelInfo& info);
Json ToJson(const api::GenerateMetrics& metrics, const Rates& rates);
Json ToJson(const std::vector<api::StrategyMember>& members);
Json ToJson(const api::MachineReport& report);

// Confidences to six digits: no more are meant.
Json Rounded(const std::vector<float>& confidence);

// One object and a newline on standard output. Bytes that are no UTF-8 become U+FFFD.
void PrintJson(const Json& json);

}  // namespace tessera::cli
