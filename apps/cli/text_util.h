// UTF-8 as a terminal needs it: validity, columns, and text that cannot steer the terminal.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tessera::cli {

struct Utf8Char {
  char32_t value = 0;
  size_t bytes = 1;
  bool valid = true;  // false: `bytes` is 1 and `value` U+FFFD
};

// The character that begins at `offset`, which must be below text.size().
Utf8Char DecodeUtf8(std::string_view text, size_t offset);

// Offset of the first byte that is not part of valid UTF-8.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

// Terminal columns of one character (0 for combining ones) and of a text without control
// characters. Needs a UTF-8 LC_CTYPE, which main sets.
int DisplayWidth(char32_t value);
int DisplayWidth(std::string_view text);

// The text with control characters other than newline and tab, and invalid bytes, as U+FFFD: what a
// model writes must not move the cursor or change the title of the user's terminal.
std::string Printable(std::string_view text);

// Printable in one line: newlines as "\n", cut to `max_columns` with an ellipsis.
std::string OneLine(std::string_view text, int max_columns);

// The text padded with spaces to `columns`, or unchanged when it is wider.
std::string PadRight(std::string_view text, int columns);
std::string PadLeft(std::string_view text, int columns);

// 1234567 as "1,234,567".
std::string Thousands(int64_t value);
// 12'345'678 as "12.3 M", 8'030'261'248 as "8.03 B".
std::string Count(int64_t value);
// Bytes in units of 1000: "22.4 MB".
std::string Bytes(int64_t value);

// The name of `names` that `text` most likely meant, or nothing.
template <typename Names>
std::optional<std::string> Nearest(std::string_view text, const Names& names);

// Insertions, deletions, substitutions and swaps of neighbours.
int EditDistance(std::string_view a, std::string_view b);

template <typename Names>
std::optional<std::string> Nearest(std::string_view text, const Names& names) {
  std::optional<std::string> best;
  int best_distance = text.size() < 4 ? 2 : 3;  // at least this far is not a slip of the fingers
  for (const auto& name : names) {
    const int distance = EditDistance(text, name);
    if (distance < best_distance) {
      best_distance = distance;
      best = std::string(name);
    }
  }
  return best;
}

}  // namespace tessera::cli
