// UTF-8 and the few Unicode properties tokenizers need.
//
// Owns validation (with the byte offset of the first bad byte), lossy decoding as Rust's
// from_utf8_lossy does it (one U+FFFD per maximal invalid sequence), normal forms and lower-casing.
// Everything except Utf8Lossy and FindInvalidUtf8 requires valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tessera/base/status.h"

namespace tessera::text {

// Offset of the first byte that is not part of well-formed UTF-8; empty when all is well.
std::optional<size_t> FindInvalidUtf8(std::string_view bytes);

// Length of the character that starts with `lead` (a lead byte of valid UTF-8).
inline size_t Utf8CharLength(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

// Reads the character at *pos and moves *pos past it.
char32_t NextChar(std::string_view utf8, size_t* pos);

// The character that ends at `end` (> 0).
char32_t CharBefore(std::string_view utf8, size_t end);

void AppendUtf8(char32_t c, std::string* out);

size_t CountChars(std::string_view utf8);

bool IsWhiteSpace(char32_t c);   // Unicode White_Space
bool IsWordChar(char32_t c);     // \w of the Rust regex crate
bool IsNumeric(char32_t c);      // general category N*
bool IsPunctuation(char32_t c);  // ASCII punctuation or category P*
bool IsMark(char32_t c);         // category M*
bool IsPrintable(char32_t c);    // Python's str.isprintable

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// Linear in the length even for long runs of combining marks.
std::string Normalize(NormalForm form, std::string_view utf8);

std::string Lowercase(std::string_view utf8);
std::string Uppercase(std::string_view utf8);

// Turns a stream of bytes into valid UTF-8. A character split over several Push calls comes out
// whole; what cannot become a character comes out as U+FFFD.
class Utf8Lossy {
 public:
  void Push(std::string_view bytes, std::string* out);
  void Finish(std::string* out);  // an unfinished character becomes one U+FFFD

 private:
  std::string pending_;  // at most 3 bytes: a valid but incomplete character
};

}  // namespace tessera::text
