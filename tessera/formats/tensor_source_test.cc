#include "tessera/formats/tensor_source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tessera/formats/test_util.h"

namespace tessera {
namespace {

// A tensor of 16-bit words at an odd address.
struct Words {
  explicit Words(DType dtype, size_t count) : memory(2 * count + 1) {
    view = {memory.data() + 1, dtype, {static_cast<int64_t>(count)}};
  }
  void Set(size_t index, uint16_t bits) { std::memcpy(memory.data() + 1 + 2 * index, &bits, 2); }
  std::vector<std::byte> memory;
  TensorView view;
};

TEST(CheckFinite, FindsEveryPositionOfF32) {
  constexpr size_t kCount = 10000;  // more than two blocks
  std::vector<float> values(kCount, 1.0f);
  values[7] = std::numeric_limits<float>::max();
  values[8] = -std::numeric_limits<float>::denorm_min();
  const TensorView view{reinterpret_cast<const std::byte*>(values.data()), DType::kF32, {100, 100}};
  EXPECT_TRUE(CheckFinite(view, "w").ok());
  for (const size_t at : {size_t{0}, size_t{4095}, size_t{4096}, kCount - 1}) {
    for (const float bad : {std::nanf(""), -std::nanf(""), INFINITY, -INFINITY}) {
      values[at] = bad;
      ExpectError(CheckFinite(view, "model.norm"), StatusCode::kDataLoss,
                  {"'model.norm'", "[100, 100]", "1 value ", "element " + std::to_string(at)});
      values[at] = 1.0f;
    }
  }
  std::fill(values.begin(), values.end(), std::nanf(""));
  ExpectError(CheckFinite(view, "w"), StatusCode::kDataLoss, {"10000 values", "element 0", "nan"});
}

TEST(CheckFinite, EveryPatternOf16BitsAgreesWithIsfinite) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    Words one(dtype, 1);
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      one.Set(0, static_cast<uint16_t>(bits));
      ASSERT_EQ(CheckFinite(one.view, "w").ok(), std::isfinite(FloatAt(one.view, 0))) << bits;
    }
  }
}

TEST(CheckFinite, IntegersAlwaysAre) {
  const std::vector<std::byte> ones(16, std::byte{0xff});
  for (const DType dtype : {DType::kI64, DType::kI32, DType::kU8, DType::kBool}) {
    EXPECT_TRUE(CheckFinite({ones.data(), dtype, {2}}, "i").ok());
  }
}

TEST(Conversions, F16SubnormalsInfinitiesAndNaN) {
  EXPECT_EQ(FloatFromF16(0x0000), 0.0f);
  EXPECT_TRUE(std::signbit(FloatFromF16(0x8000)));
  EXPECT_EQ(FloatFromF16(0x0001), 0x1p-24f);
  EXPECT_EQ(FloatFromF16(0x83ff), -0x3ffp-24f);
  EXPECT_EQ(FloatFromF16(0x0400), 0x1p-14f);
  EXPECT_EQ(FloatFromF16(0x3555), 0x1.554p-2f);
  EXPECT_EQ(FloatFromF16(0x7bff), 65504.0f);
  EXPECT_EQ(FloatFromF16(0x7c00), INFINITY);
  EXPECT_EQ(FloatFromF16(0xfc00), -INFINITY);
  EXPECT_TRUE(std::isnan(FloatFromF16(0x7c01)));
  EXPECT_TRUE(std::isnan(FloatFromF16(0xfe00)));
#ifdef __FLT16_MANT_DIG__  // an independent answer for all 65536, where the compiler has one
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float ours = FloatFromF16(static_cast<uint16_t>(bits));
    const float theirs = static_cast<float>(std::bit_cast<_Float16>(static_cast<uint16_t>(bits)));
    if (std::isnan(theirs)) {
      ASSERT_TRUE(std::isnan(ours)) << bits;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(ours), std::bit_cast<uint32_t>(theirs)) << bits;
    }
  }
#endif
}

TEST(Conversions, BF16RoundTripAndRounding) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = FloatFromBF16(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(FloatFromBF16(BF16FromFloat(value)))) << bits;
    } else {
      ASSERT_EQ(BF16FromFloat(value), bits);
    }
  }
  EXPECT_EQ(FloatFromBF16(0x0001), 0x1p-133f) << "subnormal";
  EXPECT_EQ(BF16FromFloat(0x1.01p0f), 0x3f80) << "tie to even, down";
  EXPECT_EQ(BF16FromFloat(0x1.03p0f), 0x3f82) << "tie to even, up";
  EXPECT_EQ(BF16FromFloat(std::numeric_limits<float>::max()), 0x7f80) << "overflows to infinity";
  EXPECT_TRUE(std::isnan(FloatFromBF16(BF16FromFloat(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace tessera
