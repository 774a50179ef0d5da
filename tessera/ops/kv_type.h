// How K and V are kept between forwards.
#pragma once

#include <cstdint>
#include <string_view>

#include "tessera/base/status.h"

namespace tessera::ops {

// kInt8: signed bytes and one scale per row and head of K, and of V. See QuantizeKv.
enum class KvType : uint8_t { kF32, kBF16, kInt8 };

std::string_view Name(KvType type);  // "f32", "bf16", "int8"
Result<KvType> ParseKvType(std::string_view name);

// One head of one row: x[i] ~ codes[i] * the returned scale, the scale being the largest magnitude
// over 127, rounded to nearest even. A value that is NaN or infinite makes the scale NaN.
float QuantizeKv(const float* x, int32_t count, int8_t* codes);

}  // namespace tessera::ops
