// Text from a file made safe for a one-line message: quoted, shortened, control bytes and invalid
// UTF-8 shown as \xNN. Everything a reader repeats from its input goes through here, so a hostile
// name can neither break the line nor send escape sequences to a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tessera {

// `text` without quotes; at most `max_bytes` of it, then "...".
std::string Printable(std::string_view text, size_t max_bytes = 160);

// 'text'
std::string Quoted(std::string_view text);

// Well-formed UTF-8: no overlong form, surrogate or code point above U+10FFFF.
bool IsUtf8(std::string_view text);

}  // namespace tessera
