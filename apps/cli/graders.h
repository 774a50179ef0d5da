// Decides whether an output answers a case. The graders are those of training/export_cases.py,
// where their rules are documented; both must agree on every output.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/api/model.h"

namespace tessera::cli {

struct Case;

// Whether the grader is known and `meta` holds what it needs.
Status CheckGrader(const std::string& grader, const nlohmann::json& meta);

// True or false for graded cases, nothing for free text. The case must have passed CheckGrader.
std::optional<bool> Grade(std::string_view output, const Case& c);

// The items of a list written as open + item + sep + ... + last_sep + item + close, or "1. item"
// lines when meta.style is "numbered"; nothing when the text is not a list of that style.
std::optional<std::vector<std::string>> ParseList(std::string_view text,
                                                  const nlohmann::json& meta);

}  // namespace tessera::cli
