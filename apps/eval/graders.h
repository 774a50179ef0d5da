// Decides how well an output answers a case. exact, shuffle, latin, insert_any, remove_any and
// replace_any are those of training/export_cases.py, where their rules are documented; both must
// agree on every output. The others belong to public benchmarks: benchmark_graders.h.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/eval/case.h"
#include "apps/eval/text.h"

namespace tessera::eval {

// Each in [0, 1]; most graders know only right and wrong.
struct Verdict {
  double score = 0;
  double strict = 0;  // the answer's form counts too; equals score where the grader has one rule

  bool right() const { return score >= 1; }
};

// Whether the grader is known and `meta` holds what it needs.
Status CheckGrader(const std::string& grader, const nlohmann::json& meta);

// Nothing for free text. The case must have passed CheckGrader.
std::optional<Verdict> Grade(std::string_view output, const Case& c);

// True when the grader's scores lie between wrong and right too: no Wilson interval for those.
bool HasPartialScores(const std::string& grader);

// The items of a list written as open + item + sep + ... + last_sep + item + close, or "1. item"
// lines when meta.style is "numbered"; nothing when the text is not a list of that style.
std::optional<Strings> ParseList(std::string_view text, const nlohmann::json& meta);

// What the list tasks with several right answers ask of the items of an answer.
bool IsShuffleOf(const Strings& got, const Strings& items);  // same items, another order
bool IsInsertionInto(Strings got, const Strings& items, const std::string& inserted);
bool IsRemovalFrom(const Strings& got, const Strings& items);  // one item less, order kept
// One item replaced; replacing an item by itself counts too, as in the Python grader.
bool IsReplacementIn(const Strings& got, const Strings& items, const std::string& replacement);
// Four rows of four, every row and every column a permutation of the symbols.
bool IsLatinSquare(const std::vector<Strings>& rows, const Strings& symbols);

}  // namespace tessera::eval
