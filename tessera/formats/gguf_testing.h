// Writes GGUF files for tests: header, metadata and tensors as the public description lays them
// out, and rounding to every block type that we read. Not part of any library target.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/check.h"
#include "tessera/tensor/gguf_blocks.h"
#include "tessera/tensor/tensor.h"

namespace tessera::gguf_testing {

template <typename T>
std::string Raw(T value) {
  std::string text(sizeof value, '\0');
  std::memcpy(text.data(), &value, sizeof value);
  return text;
}
inline std::string Text(std::string_view text) {
  return Raw<uint64_t>(text.size()) + std::string(text);
}

// Type numbers of tensors in files.
inline constexpr uint32_t kF32 = 0, kF16 = 1, kBF16 = 30, kQ5_0 = 6, kI32 = 26;
inline uint32_t TypeId(GgufBlock block) {
  switch (block) {
    case GgufBlock::kQ8_0: return 8;
    case GgufBlock::kQ4_0: return 2;
    case GgufBlock::kQ4_1: return 3;
    case GgufBlock::kQ4_K: return 12;
    case GgufBlock::kQ5_K: return 13;
    case GgufBlock::kQ6_K: return 14;
  }
  return UINT32_MAX;
}

class Builder {
 public:
  struct Tensor {
    std::string name;
    uint32_t type = kF32;
    Shape shape;
    std::string data;
    int64_t offset = -1;  // >= 0: instead of the next free one
  };

  Builder& Pair(std::string_view key, uint32_t type, const std::string& value) {
    pairs_.push_back(Text(key) + Raw(type) + value);
    return *this;
  }
  Builder& U32(std::string_view key, uint32_t value) { return Pair(key, 4, Raw(value)); }
  Builder& F32(std::string_view key, float value) { return Pair(key, 6, Raw(value)); }
  Builder& Bool(std::string_view key, bool value) {
    return Pair(key, 7, std::string(1, value ? '\1' : '\0'));
  }
  Builder& String(std::string_view key, std::string_view value) {
    return Pair(key, 8, Text(value));
  }
  template <typename T>
  Builder& Array(std::string_view key, uint32_t element, const std::vector<T>& values) {
    std::string bytes = Raw(element) + Raw<uint64_t>(values.size());
    for (const T& value : values) bytes += Raw(value);
    return Pair(key, 9, bytes);
  }
  Builder& Ints(std::string_view key, const std::vector<int32_t>& values) {
    return Array(key, 5, values);
  }
  Builder& Floats(std::string_view key, const std::vector<float>& values) {
    return Array(key, 6, values);
  }
  Builder& Strings(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = Raw<uint32_t>(8) + Raw<uint64_t>(values.size());
    for (const std::string& value : values) bytes += Text(value);
    return Pair(key, 9, bytes);
  }
  Builder& Add(Tensor tensor) {
    tensors_.push_back(std::move(tensor));
    return *this;
  }
  Builder& Align(uint32_t alignment) {
    alignment_ = alignment;
    return U32("general.alignment", alignment);
  }
  const std::vector<Tensor>& tensors() const { return tensors_; }

  std::string Build(uint32_t version = 3) const {
    std::string file =
        "GGUF" + Raw(version) + Raw<uint64_t>(tensors_.size()) + Raw<uint64_t>(pairs_.size());
    for (const std::string& pair : pairs_) file += pair;
    std::string data;
    for (const Tensor& tensor : tensors_) {
      data.resize((data.size() + alignment_ - 1) / alignment_ * alignment_);
      file += Text(tensor.name) + Raw(static_cast<uint32_t>(tensor.shape.size()));
      for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) {
        file += Raw<uint64_t>(static_cast<uint64_t>(*extent));
      }
      const uint64_t offset =
          tensor.offset >= 0 ? static_cast<uint64_t>(tensor.offset) : data.size();
      file += Raw(tensor.type) + Raw(offset);
      data += tensor.data;
    }
    file.resize((file.size() + alignment_ - 1) / alignment_ * alignment_);
    return file + data;
  }

 private:
  std::vector<std::string> pairs_;
  std::vector<Tensor> tensors_;
  uint32_t alignment_ = 32;
};

// Round to nearest even; |value| below 65504.
inline uint16_t F16FromFloat(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float magnitude = std::fabs(value);
  if (magnitude < 0x1p-14f) {
    return static_cast<uint16_t>(sign | static_cast<int>(std::nearbyint(magnitude * 0x1p24f)));
  }
  int exponent = 0;
  const float fraction = std::frexp(magnitude, &exponent);  // [0.5, 1)
  const int mantissa = static_cast<int>(std::nearbyint(fraction * 2048));
  return static_cast<uint16_t>(sign | (((exponent + 14) << 10) + mantissa - 1024));
}
inline float RoundToF16(float value) { return FloatFromF16(F16FromFloat(value)); }

inline int Nearest(float value, int low, int high) {
  return static_cast<int>(
      std::clamp(std::nearbyint(value), static_cast<float>(low), static_cast<float>(high)));
}

inline float Inverse(float scale) { return scale == 0 ? 0 : 1 / scale; }

// Scales and mins of 8 groups of 32 for Q4_K and Q5_K: 6 bits each of one pair of halves.
inline std::string KScales(std::span<const float> w, int levels, float* scales, float* mins) {
  float top_scale = 0, top_min = 0;
  for (int g = 0; g < 8; ++g) {
    const auto group = w.subspan(static_cast<size_t>(g) * 32, 32);
    const float low = std::min(0.0f, *std::min_element(group.begin(), group.end()));
    const float high = std::max(0.0f, *std::max_element(group.begin(), group.end()));
    scales[g] = (high - low) / static_cast<float>(levels);
    mins[g] = -low;
    top_scale = std::max(top_scale, scales[g]);
    top_min = std::max(top_min, mins[g]);
  }
  const float d = RoundToF16(top_scale / 63), dmin = RoundToF16(top_min / 63);
  uint8_t packed[12] = {};
  for (int g = 0; g < 8; ++g) {
    const int s = Nearest(scales[g] * Inverse(d), 0, 63),
              m = Nearest(mins[g] * Inverse(dmin), 0, 63);
    scales[g] = d * static_cast<float>(s);
    mins[g] = dmin * static_cast<float>(m);
    if (g < 4) {
      packed[g] = static_cast<uint8_t>(packed[g] | s);
      packed[4 + g] = static_cast<uint8_t>(packed[4 + g] | m);
    } else {
      packed[8 + g - 4] = static_cast<uint8_t>((s & 15) | (m & 15) << 4);
      packed[g - 4] = static_cast<uint8_t>(packed[g - 4] | (s >> 4) << 6);
      packed[g] = static_cast<uint8_t>(packed[g] | (m >> 4) << 6);
    }
  }
  return Raw(F16FromFloat(d)) + Raw(F16FromFloat(dmin)) +
         std::string(reinterpret_cast<const char*>(packed), 12);
}

// One block of the type from FormatOf(type).weights values.
inline std::string RoundBlock(GgufBlock type, std::span<const float> w) {
  const auto [low, high] = std::minmax_element(w.begin(), w.end());
  const float top = std::max(std::fabs(*low), std::fabs(*high));
  std::string out;
  switch (type) {
    case GgufBlock::kQ8_0: {
      const float d = RoundToF16(top / 127);
      out = Raw(F16FromFloat(d));
      for (const float x : w) out += static_cast<char>(Nearest(x * Inverse(d), -127, 127));
      return out;
    }
    case GgufBlock::kQ4_0:
    case GgufBlock::kQ4_1: {
      const bool min = type == GgufBlock::kQ4_1;
      const float d = RoundToF16(min ? (*high - *low) / 15 : top / 7);
      const float m = min ? RoundToF16(*low) : -8 * d;
      out = Raw(F16FromFloat(d));
      if (min) out += Raw(F16FromFloat(m));
      for (size_t i = 0; i < 16; ++i) {
        out += static_cast<char>(Nearest((w[i] - m) * Inverse(d), 0, 15) |
                                 Nearest((w[16 + i] - m) * Inverse(d), 0, 15) << 4);
      }
      return out;
    }
    case GgufBlock::kQ4_K:
    case GgufBlock::kQ5_K: {
      const int levels = type == GgufBlock::kQ4_K ? 15 : 31;
      float scales[8], mins[8];
      out = KScales(w, levels, scales, mins);
      std::string halves(128, '\0'), fifth(32, '\0');
      for (size_t i = 0; i < 256; ++i) {
        const size_t g = i / 32, at = g / 2 * 32 + i % 32;
        const int q = Nearest((w[i] + mins[g]) * Inverse(scales[g]), 0, levels);
        halves[at] = static_cast<char>(halves[at] | (q & 15) << (g % 2 * 4));
        fifth[i % 32] = static_cast<char>(fifth[i % 32] | (q >> 4) << g);
      }
      return out + (levels == 31 ? fifth : "") + halves;
    }
    case GgufBlock::kQ6_K: {
      const float d = RoundToF16(top / 31 / 127);
      std::string low_bits(128, '\0'), high_bits(64, '\0'), scales;
      for (size_t g = 0; g < 16; ++g) {
        float group_top = 0;
        for (size_t i = 0; i < 16; ++i) group_top = std::max(group_top, std::fabs(w[g * 16 + i]));
        const int s = Nearest(group_top / 31 * Inverse(d), 0, 127);
        scales += static_cast<char>(s);
        const float scale = d * static_cast<float>(s);
        for (size_t i = g * 16; i < g * 16 + 16; ++i) {
          const int q = Nearest(w[i] * Inverse(scale), -32, 31) + 32;
          const size_t half = i / 128, part = i % 128 / 32;
          const size_t at = half * 64 + part % 2 * 32 + i % 32;
          low_bits[at] = static_cast<char>(low_bits[at] | (q & 15) << (part / 2 * 4));
          const size_t top_at = half * 32 + i % 32;
          high_bits[top_at] = static_cast<char>(high_bits[top_at] | (q >> 4) << (part * 2));
        }
      }
      return low_bits + high_bits + scales + Raw(F16FromFloat(d));
    }
  }
  return out;
}

inline std::string Round(GgufBlock type, std::span<const float> values) {
  const size_t block = static_cast<size_t>(FormatOf(type).weights);
  TESSERA_CHECK(values.size() % block == 0);
  std::string out;
  for (size_t i = 0; i < values.size(); i += block)
    out += RoundBlock(type, values.subspan(i, block));
  return out;
}

// `values` in a float type of the file.
inline std::string Floats(uint32_t type, std::span<const float> values) {
  std::string out;
  for (const float value : values) {
    if (type == kF32) out += Raw(value);
    if (type == kF16) out += Raw(F16FromFloat(value));
    if (type == kBF16) out += Raw(BF16FromFloat(value));
  }
  return out;
}

}  // namespace tessera::gguf_testing
