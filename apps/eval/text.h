// Small tools for files and answers: reading, trimming, cutting, words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tessera/api/model.h"

namespace tessera::eval {

using Strings = std::vector<std::string>;

// Without ASCII whitespace around, as much of Python's str.strip as these texts can hold.
std::string_view Strip(std::string_view text);
// At every occurrence of `separator`, which must not be empty; "" gives one empty part.
Strings Split(std::string_view text, std::string_view separator);
// At runs of spaces, tabs and newlines; no empty parts.
Strings Words(std::string_view text);
Strings Sorted(Strings strings);
// ASCII letters in lower case.
std::string Lower(std::string_view text);

// Text from outside as it may stand in a message: at most 60 bytes, printable ASCII.
std::string Quote(std::string_view text);

// The whole text as a number. Locale-free; no sign, spaces or rest beside what is written.
bool ParseNumber(std::string_view text, double* value);
bool ParseCount(std::string_view text, int64_t min, int64_t max, int64_t* value);

// The whole of a file; errors say what it should have been ("a file of cases").
Result<std::string> ReadText(const std::string& path, std::string_view expected);

// Calls `use(line, number)` for every line that is not blank, without its end; stops at an error.
template <typename Use>
Status ForEachLine(std::string_view text, const Use& use) {
  for (int number = 1; !text.empty(); ++number) {
    const size_t newline = text.find('\n');
    std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    TESSERA_RETURN_IF_ERROR(use(line, number));
  }
  return OkStatus();
}

}  // namespace tessera::eval
