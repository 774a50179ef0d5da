// GPT-2's printable alphabet for bytes: each byte stands for one character below U+0144.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tessera::text {

char32_t ByteToChar(uint8_t byte);
std::optional<uint8_t> CharToByte(char32_t c);

// The bytes a token in that alphabet stands for; empty optional when any character is outside it.
std::optional<std::string> FromByteLevel(std::string_view utf8);

std::string ToByteLevel(std::string_view bytes);

}  // namespace tessera::text
