// Cuts a Jinja template into text and the tokens between delimiters, with the whitespace rules of
// transformers' environment: trim_blocks, lstrip_blocks, no trailing newline.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"

namespace tessera::text::jinja {

struct Token {
  enum class Kind {
    kText,
    kBlockBegin,
    kBlockEnd,
    kPrintBegin,
    kPrintEnd,
    kName,
    kString,
    kInt,
    kFloat,
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;  // of a string: its value
  int64_t integer = 0;
  double number = 0;
  int line = 1;
};

Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace tessera::text::jinja
