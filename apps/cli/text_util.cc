#include "apps/cli/text_util.h"

#include <fmt/format.h>
#include <wchar.h>

#include <algorithm>
#include <vector>

namespace tessera::cli {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

bool IsControl(char32_t value) { return value < 0x20 || (value >= 0x7F && value < 0xA0); }

}  // namespace

Utf8Char DecodeUtf8(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[offset + i]); };
  const Utf8Char invalid{.value = 0xFFFD, .bytes = 1, .valid = false};
  const unsigned char first = byte(0);
  if (first < 0x80) return {.value = first, .bytes = 1, .valid = true};
  size_t length = 0;
  char32_t value = 0;
  char32_t least = 0;  // smaller values would be overlong
  if (first >= 0xC2 && first < 0xE0) {
    length = 2, value = first & 0x1Fu, least = 0x80;
  } else if (first >= 0xE0 && first < 0xF0) {
    length = 3, value = first & 0x0Fu, least = 0x800;
  } else if (first >= 0xF0 && first < 0xF5) {
    length = 4, value = first & 0x07u, least = 0x10000;
  } else {
    return invalid;
  }
  if (offset + length > text.size()) return invalid;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0u) != 0x80) return invalid;
    value = (value << 6) | (byte(i) & 0x3Fu);
  }
  if (value < least || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return invalid;
  return {.value = value, .bytes = length, .valid = true};
}

std::optional<size_t> FindInvalidUtf8(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const Utf8Char c = DecodeUtf8(text, offset);
    if (!c.valid) return offset;
    offset += c.bytes;
  }
  return std::nullopt;
}

int DisplayWidth(char32_t value) {
  if (value >= 0x20 && value < 0x7F) return 1;
  return std::max(0, wcwidth(static_cast<wchar_t>(value)));
}

int DisplayWidth(std::string_view text) {
  int columns = 0;
  for (size_t offset = 0; offset < text.size();) {
    const Utf8Char c = DecodeUtf8(text, offset);
    columns += DisplayWidth(c.value);
    offset += c.bytes;
  }
  return columns;
}

std::string Printable(std::string_view text) {
  std::string printable;
  for (size_t offset = 0; offset < text.size();) {
    const Utf8Char c = DecodeUtf8(text, offset);
    const bool keep = c.valid && (!IsControl(c.value) || c.value == '\n' || c.value == '\t');
    printable += keep ? text.substr(offset, c.bytes) : kReplacement;
    offset += c.bytes;
  }
  return printable;
}

std::string OneLine(std::string_view text, int max_columns) {
  std::string flat;
  for (const char c : Printable(text)) {
    if (c == '\n') {
      flat += "\\n";
    } else {
      flat += c == '\t' ? ' ' : c;
    }
  }
  if (DisplayWidth(flat) <= max_columns) return flat;
  std::string cut;
  int columns = 0;
  for (size_t offset = 0; offset < flat.size();) {
    const Utf8Char c = DecodeUtf8(flat, offset);
    columns += DisplayWidth(c.value);
    if (columns > max_columns - 1) break;
    cut += flat.substr(offset, c.bytes);
    offset += c.bytes;
  }
  return cut + "…";
}

std::string PadRight(std::string_view text, int columns) {
  return std::string(text) +
         std::string(static_cast<size_t>(std::max(0, columns - DisplayWidth(text))), ' ');
}

std::string PadLeft(std::string_view text, int columns) {
  return std::string(static_cast<size_t>(std::max(0, columns - DisplayWidth(text))), ' ') +
         std::string(text);
}

std::string Thousands(int64_t value) {
  std::string digits = std::to_string(value);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return digits;
}

std::string Count(int64_t value) {
  const auto number = static_cast<double>(value);
  if (value < 10'000) return std::to_string(value);
  if (value < 1'000'000) return fmt::format("{:.1f} k", number / 1e3);
  if (value < 1'000'000'000) return fmt::format("{:.1f} M", number / 1e6);
  return fmt::format("{:.2f} B", number / 1e9);
}

std::string Bytes(int64_t value) {
  const auto number = static_cast<double>(value);
  if (value < 1000) return fmt::format("{} B", value);
  if (value < 1'000'000) return fmt::format("{:.1f} kB", number / 1e3);
  if (value < 1'000'000'000) return fmt::format("{:.1f} MB", number / 1e6);
  return fmt::format("{:.2f} GB", number / 1e9);
}

int EditDistance(std::string_view a, std::string_view b) {
  const size_t columns = b.size() + 1;
  std::vector<int> table((a.size() + 1) * columns);
  const auto at = [&](size_t i, size_t j) -> int& { return table[i * columns + j]; };
  for (size_t i = 0; i <= a.size(); ++i) at(i, 0) = static_cast<int>(i);
  for (size_t j = 0; j <= b.size(); ++j) at(0, j) = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitute = at(i - 1, j - 1) + (a[i - 1] == b[j - 1] ? 0 : 1);
      at(i, j) = std::min({at(i - 1, j) + 1, at(i, j - 1) + 1, substitute});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        at(i, j) = std::min(at(i, j), at(i - 2, j - 2) + 1);
      }
    }
  }
  return at(a.size(), b.size());
}

}  // namespace tessera::cli
