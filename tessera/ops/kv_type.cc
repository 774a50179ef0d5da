#include "tessera/ops/kv_type.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace tessera::ops {

std::string_view Name(KvType type) {
  switch (type) {
    case KvType::kF32: return "f32";
    case KvType::kBF16: return "bf16";
    case KvType::kInt8: return "int8";
  }
  return "";
}

Result<KvType> ParseKvType(std::string_view name) {
  for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kInt8}) {
    if (name == Name(type)) return type;
  }
  return InvalidArgument("K/V type: got '{}', accepted: auto, f32, bf16, int8", name);
}

float QuantizeKv(const float* x, int32_t count, int8_t* codes) {
  uint32_t largest = 0;  // of the magnitudes' bits: orders like the values, NaN and infinity last
  for (int32_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7fffffff);
  }
  constexpr uint32_t kInfinity = 0x7f800000;
  constexpr uint32_t kNextToNothing = 0x01000000;  // 127 over less may overflow
  if (largest >= kInfinity || largest < kNextToNothing) {
    std::fill_n(codes, count, int8_t{0});
    return largest >= kInfinity ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
  }
  const float inverse = 127.0f / std::bit_cast<float>(largest);
  // Adding 1.5 * 2^23 rounds to nearest even into the low bits.
  constexpr float kRound = 12582912.0f;
  for (int32_t i = 0; i < count; ++i) {
    codes[i] = static_cast<int8_t>(std::bit_cast<uint32_t>(x[i] * inverse + kRound) -
                                   std::bit_cast<uint32_t>(kRound));
  }
  return std::bit_cast<float>(largest) / 127.0f;
}

}  // namespace tessera::ops
