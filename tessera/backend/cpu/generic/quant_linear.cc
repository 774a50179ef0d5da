// Integer linear kernels for any machine: plain loops over 16 features.
#include "tessera/backend/cpu/quant_loops.h"

namespace tessera::cpu::generic {
namespace {

float FloatFromHalf(uint32_t bits) {
  const uint32_t sign = (bits & 0x8000) << 16, exponent = (bits >> 10) & 0x1f;
  const uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    return FloatOf(BitsOf(static_cast<float>(mantissa) * 5.9604644775390625e-8f) | sign);
  }
  return FloatOf(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | mantissa << 13);
}

struct Micro {
  static constexpr int kMaxRows = 4;

  static char Look(const HalfCodes& half, int feature, int code) {
    int byte = kCodeTables.of[static_cast<unsigned char>(half.ratios[feature])][code];
    if (half.offsets != nullptr) byte += static_cast<signed char>(half.offsets[feature]);
    return static_cast<char>(byte < -128 ? -128 : byte > 127 ? 127 : byte);
  }

  static void Expand(const char* codes, const HalfCodes& low, const HalfCodes& high, char* to) {
    for (int f = 0; f < 16; ++f) {
      for (int64_t j = 0; j < kHalf; ++j) {
        const int pair = static_cast<unsigned char>(codes[f * 32 + j]);
        to[f * 64 + j] = Look(low, f, pair & 15);
        to[f * 64 + kHalf + j] = Look(high, f, pair >> 4);
      }
    }
  }

  template <int R>
  static void Block(const QuantBlockArgs& a) {
    const char* x = a.x + kQuantHeader * R * 4;
    int32_t sum[R][16] = {};
    for (int64_t i = 0; i < a.inputs; i += 4) {
      int16_t w[64];
      for (int64_t j = 0; j < 64; ++j) w[j] = static_cast<signed char>(a.codes[i * 16 + j]);
      for (int r = 0; r < R; ++r) {
        const auto* value = reinterpret_cast<const signed char*>(x + r * 4);
        for (int64_t c = 0; c < 16; ++c) {
          sum[r][c] += w[4 * c] * value[0] + w[4 * c + 1] * value[1] + w[4 * c + 2] * value[2] +
                       w[4 * c + 3] * value[3];
        }
      }
      x += 4 * R;
    }
    for (int r = 0; r < R; ++r) {
      float scale_x;
      __builtin_memcpy(&scale_x, a.x + r * 4, 4);
      for (int64_t c = 0; c < 16; ++c) {
        uint16_t bits;
        __builtin_memcpy(&bits, a.scales + c * 2, 2);
        float* acc = a.acc + r * 16 + c;
        const float before = a.first ? 0.0f : *acc;
        *acc = before + static_cast<float>(sum[r][c]) * (scale_x * FloatFromHalf(bits));
      }
    }
  }
};

}  // namespace

const LinearKernel kLinearInt8 = QuantKernel<Micro, 8>("generic");
const LinearKernel kLinearInt4 = QuantKernel<Micro, 4>("generic");

}  // namespace tessera::cpu::generic
