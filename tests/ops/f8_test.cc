#include "tessera/tensor/f8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tessera/ops/ref/ref_device.h"
#include "tessera/ops/weight_rounding.h"

namespace tessera {
namespace {

// The definition: (-1)^s 2^(e - 7) (1 + m / 8), or 2^-6 m / 8 for e = 0.
float Definition(int code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return static_cast<float>(code & 0x80 ? -magnitude : magnitude);
}

TEST(F8Test, CodesStandForWhatTheFormatDefines) {
  for (int code = 0; code < 256; ++code) {
    const auto byte = static_cast<uint8_t>(code);
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(FloatFromF8(byte)));
      EXPECT_EQ(F8FromFloat(FloatFromF8(byte)), byte);
      continue;
    }
    EXPECT_EQ(FloatFromF8(byte), Definition(code)) << code;
    EXPECT_EQ(F8FromFloat(Definition(code)), byte) << code;
  }
}

TEST(F8Test, RoundsToTheNearestAndTiesToEven) {
  for (int code = 0; code < 0x7e; ++code) {
    const float low = Definition(code), high = Definition(code + 1), middle = (low + high) / 2;
    EXPECT_EQ(F8FromFloat(middle), code + code % 2) << code;
    EXPECT_EQ(F8FromFloat(std::nextafter(middle, low)), code) << code;
    EXPECT_EQ(F8FromFloat(std::nextafter(middle, high)), code + 1) << code;
    EXPECT_EQ(F8FromFloat(-std::nextafter(middle, high)), 0x80 | (code + 1)) << code;
  }
}

TEST(F8Test, SaturatesAndKeepsNaN) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float value : {449.f, 464.f, 480.f, 1e30f, kInfinity}) {
    EXPECT_EQ(F8FromFloat(value), 0x7e) << value;
    EXPECT_EQ(F8FromFloat(-value), 0xfe) << value;
  }
  EXPECT_TRUE(std::isnan(FloatFromF8(F8FromFloat(std::nanf("")))));
}

TEST(F8Test, FeaturesAreScaledToTheLargestCode) {
  const std::vector<float> w = {0.5f, -2.0f, 0.f, 1e-7f};
  std::vector<uint8_t> codes(w.size());
  const float scale = ops::CodeF8(w, codes.data());
  EXPECT_EQ(scale, 2.0f / 448);
  EXPECT_EQ(FloatFromF8(codes[1]), -448);
  EXPECT_EQ(FloatFromF8(codes[0]), 112);
  EXPECT_EQ(codes[2], 0);
  EXPECT_EQ(codes[3], 0);

  const std::vector<float> zeros(4, 0.f);
  EXPECT_EQ(ops::CodeF8(zeros, codes.data()), 0);
  EXPECT_EQ(codes, std::vector<uint8_t>(4, 0));

  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const std::vector<float> spoilt = {1.f, bad, 2.f, 3.f};
    EXPECT_TRUE(std::isnan(ops::CodeF8(spoilt, codes.data()))) << bad;
  }
}

TEST(F8Test, TheReferenceMultipliesRoundedWeights) {
  const std::vector<float> w = {0.5f, -2.0f, 0.3f, 0.001f, 0.f, 0.07f};  // [2, 3]
  const TensorView view = {
      .data = reinterpret_cast<const std::byte*>(w.data()), .dtype = DType::kF32, .shape = {2, 3}};
  const auto device = ops::ref::MakeRefDevice();
  const auto matrix =
      device->Pack({.parts = {view}, .format = {.type = ops::WeightType::kF8}, .paired = false});
  ASSERT_TRUE(matrix.ok()) << matrix.status().message();
  const std::vector<float> x = {1, 0, 0, 0, 1, 0, 0, 0, 1};  // one input a row
  std::vector<float> y(6);
  ops::LinearArgs args = {};
  args.weight = matrix->get();
  args.x = x.data();
  args.rows = 3;
  args.y = y.data();
  ASSERT_TRUE(device->Linear(args).ok());
  for (size_t row = 0; row < 2; ++row) {
    const float scale = (row == 0 ? 2.f : 0.07f) / 448;
    for (size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(y[k * 2 + row], FloatFromF8(F8FromFloat(w[row * 3 + k] / scale)) * scale);
    }
  }
}

}  // namespace
}  // namespace tessera
