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

// One tensor of floats, one of integers with scales.
class TwoTensors : public TensorSource {
 public:
  const std::string& origin() const override { return origin_; }
  std::vector<std::string> names() const override { return {"codes", "floats", "ids"}; }
  const TensorView* Find(std::string_view name) const override {
    return name == "floats" ? &floats_ : name == "ids" ? &ids_ : nullptr;
  }
  const QuantizedTensor* FindQuantized(std::string_view name) const override {
    return name == "codes" ? &codes_ : nullptr;
  }
  int64_t total_bytes() const override { return 0; }
  bool bad_scale = false;

 protected:
  Status CheckScales(std::string_view name) const override {
    return bad_scale ? DataLoss("tensor '{}' is bad", name) : OkStatus();
  }

 private:
  struct Codes : QuantizedTensor {
    Codes() : QuantizedTensor({2, 32}, {.bits = 8, .group = 32}, "Q8_0", 68) {}
    void ReadRow(int64_t, uint8_t*, float*, float*) const override {}
  };
  std::string origin_ = "two";
  std::byte data_[64] = {};
  TensorView floats_{data_, DType::kF16, {4, 8}}, ids_{data_, DType::kI32, {2}};
  Codes codes_;
};

TEST(TensorSource, DescribesFloatsAndIntegersWithScales) {
  const TwoTensors source;
  EXPECT_EQ(source.Describe("floats")->type, "f16");
  EXPECT_EQ(source.Describe("floats")->bytes, 64);
  EXPECT_EQ(source.Describe("codes")->type, "Q8_0");
  EXPECT_EQ(source.Describe("codes")->shape, (Shape{2, 32}));
  EXPECT_EQ(source.Describe("codes")->bytes, 68);
  ExpectError(source.Describe("x").status(), StatusCode::kNotFound, {"two", "'x'"});
}

TEST(TensorSource, CheckUsableLooksAtTypeAndShape) {
  const TwoTensors source;
  EXPECT_TRUE(source.CheckUsable("floats", {kAnyExtent, 8}).ok());
  EXPECT_TRUE(source.CheckUsable("codes", {2, 32}).ok());
  ExpectError(source.CheckUsable("floats", {8, 4}), StatusCode::kDataLoss, {"'floats'", "[4, 8]"});
  ExpectError(source.CheckUsable("codes", {32, 2}), StatusCode::kDataLoss, {"'codes'", "[2, 32]"});
  ExpectError(source.CheckUsable("ids", {2}), StatusCode::kUnimplemented, {"'ids'", "i32"});
  ExpectError(source.CheckUsable("x", {2}), StatusCode::kNotFound, {"'x'"});
}

TEST(TensorSource, GetQuantizedFiniteChecksShapeAndScales) {
  TwoTensors source;
  EXPECT_EQ(*source.GetQuantizedFinite("codes", {2, 32}), source.FindQuantized("codes"));
  ExpectError(source.GetQuantizedFinite("codes", {3, 32}).status(), StatusCode::kDataLoss,
              {"two", "'codes'", "[2, 32]", "[3, 32]"});
  ExpectError(source.GetQuantizedFinite("floats", {4, 8}).status(), StatusCode::kInvalidArgument,
              {"'floats'"});
  ExpectError(source.GetQuantizedFinite("x", {4, 8}).status(), StatusCode::kNotFound, {"'x'"});
  source.bad_scale = true;
  ExpectError(source.GetQuantizedFinite("codes", {2, 32}).status(), StatusCode::kDataLoss,
              {"two", "'codes' is bad"});
}

}  // namespace
}  // namespace tessera
