// String work shared by the methods and filters of templates.
#pragma once

#include <string>
#include <string_view>

#include "tessera/text/jinja_interpreter.h"

namespace tessera::text::jinja {

bool IsPySpace(char32_t c);  // str.isspace
size_t PreviousChar(std::string_view s, size_t end);
std::string_view StripSpace(std::string_view s, bool left, bool right);
std::string_view StripChars(std::string_view s, std::string_view chars, bool left, bool right);
std::string PyTitle(std::string_view s);     // str.title
std::string Capitalize(std::string_view s);  // str.capitalize
// Pads to `width` characters; side -1 left-justifies, 0 centres, 1 right-justifies.
std::string Pad(std::string_view s, int64_t width, std::string_view fill, int side, size_t limit);
Result<Value> ReplaceString(Interpreter& in, std::string_view s, std::string_view from,
                            std::string_view to, int64_t count);
Result<Value> PercentFormat(Interpreter& in, std::string_view format, const Value& args);

}  // namespace tessera::text::jinja
