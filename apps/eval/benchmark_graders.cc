#include "apps/eval/benchmark_graders.h"

#include <algorithm>

namespace tessera::eval {
namespace {

Strings Items(const Case& c) { return c.meta.at("items").get<Strings>(); }
std::string New(const Case& c) { return c.meta.at("new").get<std::string>(); }

double Score(bool right) { return right ? 1 : 0; }

// The same question asked of both readings of a list.
template <typename Test>
Verdict GradeBoth(std::string_view output, const Test& test) {
  const auto strict = ParseStrictList(output);
  return {.score = Score(test(ParseLenientList(output))), .strict = Score(strict && test(*strict))};
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The number that begins at `begin`, which is a digit, without commas; `end` is past it.
std::string NumberAt(std::string_view text, size_t begin, size_t* end) {
  std::string number;
  bool fraction = false;
  size_t i = begin;
  for (; i < text.size(); ++i) {
    const bool digit_follows = i + 1 < text.size() && IsDigit(text[i + 1]);
    if (IsDigit(text[i])) {
      number += text[i];
    } else if (text[i] == '.' && !fraction && digit_follows) {
      number += '.';
      fraction = true;
    } else if (text[i] != ',' || fraction || !digit_follows) {
      break;
    }
  }
  *end = i;
  return number;
}

// Without leading zeros and without a fraction that is zero.
std::string Canonical(std::string number) {
  number.erase(0, std::min(number.find_first_not_of('0'), number.size()));
  if (number.find('.') != std::string::npos) {
    number.erase(number.find_last_not_of('0') + 1);
    if (number.ends_with('.')) number.pop_back();
  }
  if (number.empty() || number.front() == '.') number.insert(0, "0");
  return number;
}

}  // namespace

Strings ParseLenientList(std::string_view text) {
  if (const size_t open = text.rfind('['); open != std::string_view::npos) {
    text.remove_prefix(open + 1);
  }
  text = text.substr(0, text.find(']'));
  constexpr std::string_view kAround = " \t\n\r\"'";
  Strings items;
  for (const std::string& part : Split(text, ",")) {
    const size_t begin = part.find_first_not_of(kAround);
    if (begin == std::string::npos) continue;
    items.push_back(part.substr(begin, part.find_last_not_of(kAround) - begin + 1));
  }
  return items;
}

std::optional<Strings> ParseStrictList(std::string_view text) {
  text = Strip(text);
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') return std::nullopt;
  text = text.substr(1, text.size() - 2);
  Strings items;
  if (text.empty()) return items;
  for (const std::string& part : Split(text, ", ")) {
    const bool quoted = part.size() >= 2 && part.front() == '"' && part.back() == '"';
    if (!quoted || part.find('"', 1) != part.size() - 1) return std::nullopt;
    items.push_back(part.substr(1, part.size() - 2));
  }
  return items;
}

Verdict GradePbList(std::string_view output, const Case& c) {
  const Strings answer = ParseLenientList(c.answer);
  return GradeBoth(output, [&](const Strings& got) { return got == answer; });
}

Verdict GradePbShuffle(std::string_view output, const Case& c) {
  const Strings items = Items(c);
  return GradeBoth(output, [&](const Strings& got) { return IsShuffleOf(got, items); });
}

Verdict GradePbInsert(std::string_view output, const Case& c) {
  const Strings items = Items(c);
  return GradeBoth(output, [&](const Strings& got) { return IsInsertionInto(got, items, New(c)); });
}

Verdict GradePbRemove(std::string_view output, const Case& c) {
  const Strings items = Items(c);
  return GradeBoth(output, [&](const Strings& got) { return IsRemovalFrom(got, items); });
}

Verdict GradePbReplace(std::string_view output, const Case& c) {
  const Strings items = Items(c);
  return GradeBoth(output, [&](const Strings& got) { return IsReplacementIn(got, items, New(c)); });
}

Verdict GradePbLatin(std::string_view output, const Case& c) {
  const Strings symbols = c.meta.at("symbols").get<Strings>();
  std::vector<Strings> rows;
  bool only_rows = true;
  for (const std::string& line : Split(Strip(output), "\n")) {
    Strings row;
    for (const std::string& cell : Split(line, ",")) row.emplace_back(Strip(cell));
    const bool same_set = Sorted(row) == Sorted(symbols);
    only_rows = only_rows && same_set;
    if (same_set && rows.size() < symbols.size()) {
      rows.push_back(std::move(row));
    } else {
      only_rows = false;
    }
  }
  const double score = Score(IsLatinSquare(rows, symbols));
  return {.score = score, .strict = only_rows ? score : 0};
}

Verdict GradePbGrid(std::string_view output, const Case& c) {
  const auto dense = [](std::string_view text) {
    std::string cells;
    for (const char cell : Strip(text)) {
      if (cell != ' ' && cell != ',' && cell != '\r') cells += cell;
    }
    return cells;
  };
  return {.score = Score(dense(output) == dense(c.answer)),
          .strict = Score(Strip(output) == Strip(c.answer))};
}

Verdict GradePbWords(std::string_view output, const Case& c) {
  const std::string lower = Lower(output);
  Verdict verdict{.score = 1, .strict = 1};
  for (const std::string& word : Items(c)) {
    if (lower.find(Lower(word)) == std::string::npos) verdict.score = 0;
    if (output.find(word) == std::string_view::npos) verdict.strict = 0;
  }
  return verdict;
}

double RougeL(std::string_view candidate, std::string_view reference) {
  const auto words = [](std::string_view text) {
    std::string plain = Lower(text);
    for (char& c : plain) {
      if (!IsDigit(c) && (c < 'a' || c > 'z')) c = ' ';
    }
    return Words(plain);
  };
  const Strings a = words(candidate), b = words(reference);
  std::vector<size_t> row(b.size() + 1);
  for (const std::string& word : a) {
    size_t diagonal = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t above = row[j + 1];
      row[j + 1] = word == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  const double common = static_cast<double>(row.back());
  return common == 0 ? 0 : 2 * common / static_cast<double>(a.size() + b.size());
}

Verdict GradeRougeL(std::string_view output, const Case& c) {
  const double score = RougeL(output, c.answer);
  return {.score = score, .strict = score};
}

std::optional<std::string> FinalNumber(std::string_view text, bool marked) {
  constexpr std::string_view kMark = "####";
  if (const size_t mark = text.rfind(kMark); mark != std::string_view::npos) {
    text.remove_prefix(mark + kMark.size());
  } else if (marked) {
    return std::nullopt;
  } else {
    std::optional<std::string> last;
    for (size_t i = 0; i < text.size(); ++i) {
      if (!IsDigit(text[i])) continue;
      const bool minus = i > 0 && text[i - 1] == '-' && (i < 2 || !IsDigit(text[i - 2]));
      const std::string number = Canonical(NumberAt(text, i, &i));
      last = (minus && number != "0" ? "-" : "") + number;
    }
    return last;
  }
  const size_t begin = text.find_first_of("0123456789");
  if (begin == std::string_view::npos) return std::nullopt;
  const std::string_view before = Strip(text.substr(0, begin));
  if (before.find_first_not_of("-$ ") != std::string_view::npos) return std::nullopt;
  size_t end = 0;
  const std::string number = Canonical(NumberAt(text, begin, &end));
  return (before.find('-') != std::string_view::npos && number != "0" ? "-" : "") + number;
}

Verdict GradeGsm8k(std::string_view output, const Case& c) {
  const auto wanted = FinalNumber(c.answer, /*marked=*/true);
  const auto strict = FinalNumber(output, /*marked=*/true);
  const auto lenient = FinalNumber(output, /*marked=*/false);
  return {.score = Score(wanted && lenient && *lenient == *wanted),
          .strict = Score(wanted && strict && *strict == *wanted)};
}

}  // namespace tessera::eval
