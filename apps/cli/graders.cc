#include "apps/cli/graders.h"

#include <algorithm>

#include "apps/cli/cases.h"
#include "apps/cli/command.h"

namespace tessera::cli {
namespace {

using nlohmann::json;
using Strings = std::vector<std::string>;

// ASCII whitespace, as much of Python's str.strip as these texts can hold.
std::string_view Strip(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\r\v\f";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

Strings Split(std::string_view text, std::string_view separator) {
  Strings parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + separator.size());
  }
}

std::optional<Strings> ParseNumbered(std::string_view text) {
  Strings items;
  for (const std::string& line : Split(text, "\n")) {
    const std::string head = fmt::format("{}. ", items.size() + 1);
    if (!line.starts_with(head)) return std::nullopt;
    items.push_back(line.substr(head.size()));
  }
  return items;
}

Strings Sorted(Strings strings) {
  std::sort(strings.begin(), strings.end());
  return strings;
}

Strings Items(const Case& c) { return c.meta.at("items").get<Strings>(); }

bool GradeExact(std::string_view output, const Case& c) { return Strip(output) == Strip(c.answer); }

bool GradeShuffle(std::string_view output, const Case& c) {
  const auto got = ParseList(output, c.meta);
  const Strings items = Items(c);
  return got && Sorted(*got) == Sorted(items) && *got != items;
}

bool GradeLatin(std::string_view output, const Case& c) {
  constexpr size_t kSide = 4;
  const Strings symbols = Sorted(c.meta.at("symbols").get<Strings>());
  std::vector<Strings> rows;
  for (const std::string& line : Split(Strip(output), "\n")) {
    Strings row;
    for (const std::string& cell : Split(line, ",")) row.emplace_back(Strip(cell));
    if (row.size() != kSide || Sorted(row) != symbols) return false;
    rows.push_back(std::move(row));
  }
  if (rows.size() != kSide) return false;
  for (size_t column = 0; column < kSide; ++column) {
    Strings cells;
    for (const Strings& row : rows) cells.push_back(row[column]);
    if (Sorted(cells) != symbols) return false;
  }
  return true;
}

bool GradeInsertAny(std::string_view output, const Case& c) {
  auto got = ParseList(output, c.meta);
  if (!got) return false;
  const auto it = std::find(got->begin(), got->end(), c.meta.at("new").get<std::string>());
  if (it == got->end()) return false;
  got->erase(it);
  return *got == Items(c);
}

bool GradeRemoveAny(std::string_view output, const Case& c) {
  const auto got = ParseList(output, c.meta);
  const Strings items = Items(c);
  if (!got || got->size() + 1 != items.size()) return false;
  const auto [difference, rest] = std::mismatch(got->begin(), got->end(), items.begin());
  return std::equal(difference, got->end(), rest + 1);
}

bool GradeReplaceAny(std::string_view output, const Case& c) {
  const auto got = ParseList(output, c.meta);
  const Strings items = Items(c);
  if (!got || got->size() != items.size()) return false;
  // Replacing an item by itself counts too, as in the Python grader.
  for (size_t i = 0; i < items.size(); ++i) {
    Strings wanted = items;
    wanted[i] = c.meta.at("new").get<std::string>();
    if (*got == wanted) return true;
  }
  return false;
}

struct Grader {
  const char* name;
  bool (*grade)(std::string_view output, const Case& c);
  bool needs_list, needs_new, needs_symbols;
};
constexpr Grader kGraders[] = {
    {"exact", GradeExact, false, false, false},
    {"shuffle", GradeShuffle, true, false, false},
    {"latin", GradeLatin, false, false, true},
    {"insert_any", GradeInsertAny, true, true, false},
    {"remove_any", GradeRemoveAny, true, false, false},
    {"replace_any", GradeReplaceAny, true, true, false},
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
    return Status(StatusCode::kDataLoss,
                  fmt::format("grader '{}': accepted: none, {}", grader, fmt::join(names, ", ")));
  }
  const auto lacks = [&](const char* what) {
    return Status(StatusCode::kDataLoss, fmt::format("grader {} needs meta.{}", grader, what));
  };
  if (known->needs_symbols && !IsStringArray(meta, "symbols")) return lacks("symbols, strings");
  if (known->needs_new && !IsString(meta, "new")) return lacks("new, a string");
  if (known->needs_list) {
    if (!IsStringArray(meta, "items")) return lacks("items, strings");
    for (const char* key : {"open", "sep", "last_sep", "close"}) {
      if (!IsNumbered(meta) && !IsString(meta, key)) return lacks(key);
    }
    if (!IsNumbered(meta) && (meta["sep"] == "" || meta["last_sep"] == "")) {
      return lacks("sep and meta.last_sep that are not empty");
    }
  }
  return OkStatus();
}

std::optional<bool> Grade(std::string_view output, const Case& c) {
  const Grader* grader = FindGrader(c.grader);
  if (grader == nullptr) return std::nullopt;
  return grader->grade(output, c);
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

}  // namespace tessera::cli
