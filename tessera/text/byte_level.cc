#include "tessera/text/byte_level.h"

#include <array>

#include "tessera/text/unicode.h"

namespace tessera::text {
namespace {

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Tables {
  std::array<uint16_t, 256> to_char{};
  std::array<int16_t, 0x144> to_byte{};
};

constexpr Tables MakeTables() {
  Tables t;
  for (auto& b : t.to_byte) b = -1;
  uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const uint16_t c = StandsForItself(byte) ? static_cast<uint16_t>(byte) : next++;
    t.to_char[byte] = c;
    t.to_byte[c] = static_cast<int16_t>(byte);
  }
  return t;
}

constexpr Tables kTables = MakeTables();

}  // namespace

char32_t ByteToChar(uint8_t byte) { return kTables.to_char[byte]; }

std::optional<uint8_t> CharToByte(char32_t c) {
  if (c >= kTables.to_byte.size() || kTables.to_byte[c] < 0) return std::nullopt;
  return static_cast<uint8_t>(kTables.to_byte[c]);
}

std::optional<std::string> FromByteLevel(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  for (size_t pos = 0; pos < utf8.size();) {
    const auto byte = CharToByte(NextChar(utf8, &pos));
    if (!byte) return std::nullopt;
    out.push_back(static_cast<char>(*byte));
  }
  return out;
}

std::string ToByteLevel(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (char c : bytes) AppendUtf8(ByteToChar(static_cast<uint8_t>(c)), &out);
  return out;
}

}  // namespace tessera::text
