#include "apps/eval/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "apps/eval/errors.h"

namespace tessera::eval {

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

Strings Words(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\r";
  Strings words;
  while (true) {
    const size_t begin = text.find_first_not_of(kSpace);
    if (begin == std::string_view::npos) return words;
    text.remove_prefix(begin);
    const size_t end = std::min(text.find_first_of(kSpace), text.size());
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

Strings Sorted(Strings strings) {
  std::sort(strings.begin(), strings.end());
  return strings;
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string Quote(std::string_view text) {
  constexpr size_t kLongest = 60;
  std::string quoted(text.substr(0, kLongest));
  for (char& c : quoted) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text.size() > kLongest ? quoted + "..." : quoted;
}

bool ParseNumber(std::string_view text, double* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(*value);
}

bool ParseCount(std::string_view text, int64_t min, int64_t max, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && *value >= min && *value <= max;
}

Result<std::string> ReadText(const std::string& path, std::string_view expected) {
  std::error_code error;
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path, error)) {
    return Missing("{}: cannot be read; accepted: {}", path, expected);
  }
  std::ostringstream text;
  text << file.rdbuf();  // fails on an empty file, which is no error here
  if (file.bad()) return Missing("{}: cannot be read to its end", path);
  return std::move(text).str();
}

}  // namespace tessera::eval
