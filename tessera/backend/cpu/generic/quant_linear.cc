// Integer linear kernels for any machine: plain loops over 16 features.
#include "tessera/backend/cpu/quant_loops.h"

namespace tessera::cpu::generic {
namespace {

float FloatFromHalf(uint32_t bits) {
  const uint32_t sign = (bits & 0x8000) << 16, exponent = (bits >> 10) & 0x1f,
                 mantissa = bits & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    return FloatOf(BitsOf(static_cast<float>(mantissa) * 5.9604644775390625e-8f) | sign);
  }
  return FloatOf(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | mantissa << 13);
}

template <int kWeightBits>
struct Micro {
  static constexpr int kBits = kWeightBits;
  static constexpr int kMaxRows = 4;

  template <int R>
  static void Block(const QuantBlockArgs& a) {
    const char* x = a.x;
    const char* codes = a.codes;
    const char* scales = a.scales;
    const char* mins = a.mins;
    int64_t half = a.half;
    for (int64_t s = 0; s < a.segments; ++s) {
      const char* header = x;
      int32_t sum[R][16] = {};
      x += kQuantHeader * R * 4;
      for (int64_t i = 0; i < a.segment; i += kHalf) {
        const int shift = kBits == 8 || half % 2 == 1 ? 0 : 4;
        const int mask = kBits == 8 ? 0xff : 0xf0;
        for (int64_t line = 0; line < kHalfLines; ++line) {
          int16_t w[64];
          for (int64_t j = 0; j < 64; ++j) {
            w[j] = static_cast<int8_t>(codes[line * 64 + j] << shift & mask);
          }
          for (int r = 0; r < R; ++r) {
            const int8_t* value = reinterpret_cast<const int8_t*>(x + (line * R + r) * 4);
            for (int64_t c = 0; c < 16; ++c) {
              sum[r][c] += w[4 * c] * value[0] + w[4 * c + 1] * value[1] + w[4 * c + 2] * value[2] +
                           w[4 * c + 3] * value[3];
            }
          }
        }
        if (kBits == 8 || half % 2 == 1) codes += kHalfLines * 64;
        ++half;
        x += kHalf * R;
      }
      for (int r = 0; r < R; ++r) {
        float x_scale, x_sum;
        __builtin_memcpy(&x_scale, header + r * 4, 4);
        __builtin_memcpy(&x_sum, header + (2 * R + r) * 4, 4);
        for (int64_t c = 0; c < 16; ++c) {
          float* acc = a.acc + r * 16 + c;
          uint16_t bits;
          __builtin_memcpy(&bits, scales + c * 2, 2);
          const float before = a.first && s == 0 ? 0.0f : *acc;
          *acc = before + static_cast<float>(sum[r][c]) * (x_scale * FloatFromHalf(bits));
          if (mins == nullptr) continue;
          __builtin_memcpy(&bits, mins + c * 2, 2);
          *acc += x_sum * FloatFromHalf(bits);
        }
      }
      scales += a.scale_step;
      if (mins != nullptr) mins += a.scale_step;
    }
  }
};

}  // namespace

const LinearKernel kLinearInt8 = QuantKernel<Micro<8>>("generic");
const LinearKernel kLinearInt4 = QuantKernel<Micro<4>>("generic");

}  // namespace tessera::cpu::generic
