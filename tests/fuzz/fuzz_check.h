// What every fuzz target checks besides not crashing: a refusal is one short line of valid UTF-8
// that names the input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tessera/base/check.h"
#include "tessera/base/status.h"
#include "tessera/formats/quote.h"

namespace tessera {

inline constexpr std::string_view kFuzzName = "fuzz-input";

inline std::span<const std::byte> FuzzBytes(const uint8_t* data, size_t size) {
  return std::as_bytes(std::span(data, size));
}

inline std::string_view FuzzText(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline void CheckRefusal(const Status& status) {
  if (status.ok()) return;
  const std::string& message = status.message();
  TESSERA_CHECK(status.code() != StatusCode::kInternal);
  TESSERA_CHECK(message.find(kFuzzName) != message.npos);
  TESSERA_CHECK(message.find('\n') == message.npos && message.find('\x1b') == message.npos);
  TESSERA_CHECK(message.size() < 4000);
  TESSERA_CHECK(IsUtf8(message));
}

}  // namespace tessera
