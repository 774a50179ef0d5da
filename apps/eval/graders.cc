#include "apps/eval/graders.h"

#include <algorithm>

#include "apps/eval/benchmark_graders.h"
#include "apps/eval/errors.h"

namespace tessera::eval {
namespace {

using nlohmann::json;

std::optional<Strings> ParseNumbered(std::string_view text) {
  Strings items;
  for (const std::string& line : Split(text, "\n")) {
    const std::string head = fmt::format("{}. ", items.size() + 1);
    if (!line.starts_with(head)) return std::nullopt;
    items.push_back(line.substr(head.size()));
  }
  return items;
}

Strings Items(const Case& c) { return c.meta.at("items").get<Strings>(); }

// A grader of right and wrong alone.
template <bool (*kIsRight)(std::string_view, const Case&)>
Verdict RightOrWrong(std::string_view output, const Case& c) {
  const double score = kIsRight(output, c) ? 1 : 0;
  return {.score = score, .strict = score};
}

bool Exact(std::string_view output, const Case& c) { return Strip(output) == Strip(c.answer); }

bool Shuffle(std::string_view output, const Case& c) {
  const auto got = ParseList(output, c.meta);
  return got && IsShuffleOf(*got, Items(c));
}

bool Latin(std::string_view output, const Case& c) {
  std::vector<Strings> rows;
  for (const std::string& line : Split(Strip(output), "\n")) {
    Strings row;
    for (const std::string& cell : Split(line, ",")) row.emplace_back(Strip(cell));
    rows.push_back(std::move(row));
  }
  return IsLatinSquare(rows, c.meta.at("symbols").get<Strings>());
}

bool InsertAny(std::string_view output, const Case& c) {
  const auto got = ParseList(output, c.meta);
  return got && IsInsertionInto(*got, Items(c), c.meta.at("new").get<std::string>());
}

bool RemoveAny(std::string_view output, const Case& c) {
  const auto got = ParseList(output, c.meta);
  return got && IsRemovalFrom(*got, Items(c));
}

bool ReplaceAny(std::string_view output, const Case& c) {
  const auto got = ParseList(output, c.meta);
  return got && IsReplacementIn(*got, Items(c), c.meta.at("new").get<std::string>());
}

// What meta must hold. kList: items in a style; kItems: items alone, the style is the benchmark's.
enum Needs { kNothing = 0, kList = 1, kNew = 2, kSymbols = 4, kItems = 8, kPartial = 16 };

struct Grader {
  const char* name;
  Verdict (*grade)(std::string_view output, const Case& c);
  int needs;
};
constexpr Grader kGraders[] = {
    {"exact", RightOrWrong<Exact>, kNothing},
    {"shuffle", RightOrWrong<Shuffle>, kList},
    {"latin", RightOrWrong<Latin>, kSymbols},
    {"insert_any", RightOrWrong<InsertAny>, kList | kNew},
    {"remove_any", RightOrWrong<RemoveAny>, kList},
    {"replace_any", RightOrWrong<ReplaceAny>, kList | kNew},
    {"pb_list", GradePbList, kNothing},
    {"pb_shuffle", GradePbShuffle, kItems},
    {"pb_insert", GradePbInsert, kItems | kNew},
    {"pb_remove", GradePbRemove, kItems},
    {"pb_replace", GradePbReplace, kItems | kNew},
    {"pb_latin", GradePbLatin, kSymbols},
    {"pb_grid", GradePbGrid, kNothing},
    {"pb_words", GradePbWords, kItems},
    {"rouge_l", GradeRougeL, kPartial},
    {"gsm8k", GradeGsm8k, kNothing},
};

const Grader* FindGrader(std::string_view name) {
  for (const Grader& grader : kGraders) {
    if (grader.name == name) return &grader;
  }
  return nullptr;
}

bool IsString(const json& meta, const char* key) {
  return meta.is_object() && meta.contains(key) && meta[key].is_string();
}

bool IsStringArray(const json& meta, const char* key) {
  return meta.is_object() && meta.contains(key) && meta[key].is_array() &&
         std::all_of(meta[key].begin(), meta[key].end(),
                     [](const json& item) { return item.is_string(); });
}

bool IsNumbered(const json& meta) {
  return IsString(meta, "style") && meta["style"].get<std::string>() == "numbered";
}

}  // namespace

Status CheckGrader(const std::string& grader, const json& meta) {
  if (grader == "none") return OkStatus();
  const Grader* known = FindGrader(grader);
  if (known == nullptr) {
    Strings names;
    for (const Grader& g : kGraders) names.emplace_back(g.name);
    return BadData("grader '{}': accepted: none, {}", Quote(grader), fmt::join(names, ", "));
  }
  const auto lacks = [&](const char* what) {
    return BadData("grader {} needs meta.{}", grader, what);
  };
  if ((known->needs & kSymbols) && !IsStringArray(meta, "symbols")) {
    return lacks("symbols, strings");
  }
  if ((known->needs & kNew) && !IsString(meta, "new")) return lacks("new, a string");
  if ((known->needs & (kList | kItems)) && !IsStringArray(meta, "items")) {
    return lacks("items, strings");
  }
  if (known->needs & kList) {
    for (const char* key : {"open", "sep", "last_sep", "close"}) {
      if (!IsNumbered(meta) && !IsString(meta, key)) return lacks(key);
    }
    if (!IsNumbered(meta) && (meta["sep"] == "" || meta["last_sep"] == "")) {
      return lacks("sep and meta.last_sep that are not empty");
    }
  }
  return OkStatus();
}

std::optional<Verdict> Grade(std::string_view output, const Case& c) {
  const Grader* grader = FindGrader(c.grader);
  if (grader == nullptr) return std::nullopt;
  return grader->grade(output, c);
}

bool HasPartialScores(const std::string& grader) {
  const Grader* known = FindGrader(grader);
  return known != nullptr && (known->needs & kPartial) != 0;
}

bool IsShuffleOf(const Strings& got, const Strings& items) {
  return Sorted(got) == Sorted(items) && got != items;
}

bool IsInsertionInto(Strings got, const Strings& items, const std::string& inserted) {
  const auto it = std::find(got.begin(), got.end(), inserted);
  if (it == got.end()) return false;
  got.erase(it);
  return got == items;
}

bool IsRemovalFrom(const Strings& got, const Strings& items) {
  if (got.size() + 1 != items.size()) return false;
  const auto [difference, rest] = std::mismatch(got.begin(), got.end(), items.begin());
  return std::equal(difference, got.end(), rest + 1);
}

bool IsReplacementIn(const Strings& got, const Strings& items, const std::string& replacement) {
  if (got.size() != items.size()) return false;
  for (size_t i = 0; i < items.size(); ++i) {
    Strings wanted = items;
    wanted[i] = replacement;
    if (got == wanted) return true;
  }
  return false;
}

bool IsLatinSquare(const std::vector<Strings>& rows, const Strings& symbols) {
  constexpr size_t kSide = 4;
  const Strings wanted = Sorted(symbols);
  if (rows.size() != kSide) return false;
  for (const Strings& row : rows) {
    if (row.size() != kSide || Sorted(row) != wanted) return false;
  }
  for (size_t column = 0; column < kSide; ++column) {
    Strings cells;
    for (const Strings& row : rows) cells.push_back(row[column]);
    if (Sorted(cells) != wanted) return false;
  }
  return true;
}

std::optional<Strings> ParseList(std::string_view text, const json& meta) {
  text = Strip(text);
  if (IsNumbered(meta)) return ParseNumbered(text);
  const auto part = [&](const char* key) { return meta.at(key).get<std::string>(); };
  const std::string open = part("open"), close = part("close");
  const std::string separator = part("sep"), last_separator = part("last_sep");
  if (!text.starts_with(open) || !text.ends_with(close) ||
      text.size() < open.size() + close.size()) {
    return std::nullopt;
  }
  text.remove_prefix(open.size());
  text.remove_suffix(close.size());
  const size_t last =
      last_separator == separator ? std::string_view::npos : text.rfind(last_separator);
  Strings items = Split(text.substr(0, last), separator);
  if (last != std::string_view::npos) items.emplace_back(text.substr(last + last_separator.size()));
  return items;
}

}  // namespace tessera::eval
