// e4m3, the 8-bit float of weights: sign, 4 bits of exponent with a bias of 7, 3 of mantissa. No
// infinity; 0x7f is NaN. Constant expressions, so that device code can use them.
#pragma once

#include <bit>
#include <cstdint>

namespace tessera {

inline constexpr float kLargestF8 = 448;

// Round to nearest even; saturates, infinity included; NaN stays NaN.
constexpr uint8_t F8FromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint8_t>(sign | 0x7f);
  if (magnitude < 0x3c800000) {  // below 2^-6: adding 2^14 leaves multiples of 2^-9 at the end
    const float sum = std::bit_cast<float>(magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(sum) & 15));
  }
  const uint32_t rounded = (magnitude + 0x7ffff + (magnitude >> 20 & 1) - 0x3c000000) >> 20;
  return static_cast<uint8_t>(sign | (rounded < 0x7e ? rounded : 0x7e));
}

constexpr float FloatFromF8(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x80) << 24;
  if ((code & 0x7f) == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000);
  // The fields moved to their places in f32 make 2^-120 times the value, subnormals included.
  return std::bit_cast<float>(sign | static_cast<uint32_t>(code & 0x7f) << 20) * 0x1p120f;
}

}  // namespace tessera
