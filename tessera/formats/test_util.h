// Helpers shared by the tests of this room: a temporary folder, hand-made safetensors bytes, and
// the assertion that an error has a code and names what it must name.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "tessera/base/status.h"

namespace tessera {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tessera-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  const std::string& path() const { return path_; }

  std::string Write(std::string_view name, std::string_view text) const {
    const std::string path = *this / name;
    std::ofstream(path, std::ios::binary).write(text.data(), static_cast<int64_t>(text.size()));
    return path;
  }
  size_t Entries() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++count;
    return count;
  }

 private:
  std::string path_;
};

inline std::string LittleEndian(uint64_t value, size_t bytes = 8) {
  std::string text(bytes, '\0');
  std::memcpy(text.data(), &value, bytes);
  return text;
}

// A safetensors file with this header and `data_bytes` zero bytes of data.
inline std::string SafetensorsBytes(std::string_view header, size_t data_bytes) {
  return LittleEndian(header.size()) + std::string(header) + std::string(data_bytes, '\0');
}

inline std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

inline void ExpectError(const Status& status, StatusCode code,
                        std::initializer_list<std::string_view> parts) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_EQ(status.message().find('\n'), std::string::npos) << "more than one line";
  for (const std::string_view part : parts) {
    EXPECT_NE(status.message().find(part), std::string::npos)
        << "no \"" << part << "\" in: " << status.message();
  }
}

}  // namespace tessera
