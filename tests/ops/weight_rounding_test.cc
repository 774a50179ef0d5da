// What integer weight formats mean, checked against the definition written out anew.
#include "tessera/ops/weight_rounding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/ops/harness.h"

namespace tessera::ops_test {
namespace {

using ops::CodedRow;
using ops::WeightFormat;
using ops::WeightType;

TensorView ViewOf(const std::vector<float>& values, int64_t out, int64_t in) {
  return {.data = reinterpret_cast<const std::byte*>(values.data()),
          .dtype = DType::kF32,
          .shape = {out, in}};
}

// Codes as a file would hold them.
class StoredCodes : public QuantizedTensor {
 public:
  StoredCodes(int64_t out, int64_t in, QuantizedLayout layout)
      : QuantizedTensor({out, in}, layout, "test", 0) {}

  uint8_t Code(int64_t row, int64_t k) const {
    return static_cast<uint8_t>(RandomInt(7, row * shape()[1] + k, 1 << layout().bits));
  }
  float Scale(int64_t row, int64_t g) const {
    return 0.001f * static_cast<float>(1 + RandomInt(8, row * 1000 + g, 30));
  }
  float Min(int64_t row, int64_t g) const {
    const float zero = static_cast<float>(1 << (layout().bits - 1));
    return layout().symmetric ? -zero * Scale(row, g)
                              : -0.001f * static_cast<float>(RandomInt(9, row * 1000 + g, 90));
  }
  void ReadRow(int64_t row, uint8_t* codes, float* scales, float* mins) const override {
    for (int64_t k = 0; k < shape()[1]; ++k) codes[k] = Code(row, k);
    for (int64_t g = 0; g < layout().NumGroups(shape()[1]); ++g) {
      scales[g] = Scale(row, g);
      mins[g] = Min(row, g);
    }
  }
};

TEST(WeightRoundingTest, ExpandedCodesAreTheNearestBytes) {
  for (int ratio = -128; ratio < 128; ++ratio) {
    for (int code = -8; code < 8; ++code) {
      const double exact = std::clamp(ratio * code * 2.0 / 15, -128.0, 127.0);
      EXPECT_EQ(ops::ExpandCode(static_cast<int8_t>(ratio), code), std::nearbyint(exact))
          << ratio << " " << code;
    }
  }
  EXPECT_EQ(ops::ExpandCode(100, 100, 7), 127);  // 93 + 100
  EXPECT_EQ(ops::ExpandCode(100, -100, -8), -128);
}

TEST(WeightRoundingTest, StoredScalesKeepElevenBits) {
  for (int i = 0; i < 2000; ++i) {
    const float scale = 1e-7f * std::pow(10.0f, static_cast<float>(i) * 0.004f);
    const float back = ops::ScaleValue(ops::StoredScale(scale));
    if (scale >= 60) break;
    EXPECT_NEAR(back / scale, 1, 0x1p-11) << scale;
  }
  EXPECT_TRUE(std::isinf(ops::ScaleValue(ops::StoredScale(65))));
  EXPECT_TRUE(std::isnan(ops::ScaleValue(ops::StoredScale(NAN))));
}

// Every rounded weight is within half a step of its group, plus what the byte grid of its segment
// takes: a half of a byte for the code, one for scale and offset.
TEST(WeightRoundingTest, RoundedWeightsAreNearTheWeights) {
  for (const int64_t in : {1, 31, 64, 100, 256, 300, 700}) {
    const std::vector<float> w = Normals(static_cast<size_t>(3 * in), 5, 0.02f);
    const ops::MatrixPart part = ViewOf(w, 3, in);
    for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
      for (const int32_t group : {0, 32, 64, 128, 256}) {
        for (const bool symmetric : {true, false}) {
          if (type == WeightType::kInt8 && !symmetric) continue;
          const WeightFormat format = {type, group, symmetric};
          ops::RowReader reader(format, in);
          for (int64_t row = 0; row < 3; ++row) {
            const CodedRow& coded = reader.ReadCodes(part, row);
            for (int64_t k = 0; k < in; ++k) {
              const int64_t size = group == 0 ? in : group;
              const int64_t begin = k / size * size, end = std::min(in, begin + size);
              const auto [low, high] =
                  std::minmax_element(w.begin() + row * in + begin, w.begin() + row * in + end);
              const float largest = std::max(std::abs(*low), std::abs(*high));
              const float byte = ops::ScaleValue(coded.scales[k / ops::SegmentOf(format)]);
              const float range = std::max(*high, 0.0f) - std::min(*low, 0.0f);
              // A symmetric int4 code reaches +7 of 8 steps: the far end may be a whole step off.
              const float step = type == WeightType::kInt8 ? largest / 127 * 0.51f
                                 : symmetric               ? largest / 8 * 1.01f
                                                           : range / 15 * 0.51f;
              const float grid = type == WeightType::kInt8 ? 0.0f : 1.6f * byte;
              ASSERT_NEAR(ops::DecodeInput(coded, format, k), w[row * in + k], step + grid)
                  << ops::Name(format) << " in " << in << " input " << k;
            }
          }
        }
      }
    }
  }
}

TEST(WeightRoundingTest, CodesOfAFileAreKept) {
  for (const int bits : {4, 8}) {
    for (const int32_t group : {0, 32, 64, 128}) {
      for (const bool symmetric : {true, false}) {
        if (bits == 8 && !symmetric) continue;
        const StoredCodes stored(2, 300, {bits, group, symmetric});
        const ops::MatrixPart part(&stored);
        const WeightFormat format = ops::FormatFor({&part, 1});
        EXPECT_EQ(format.type, bits == 4 ? WeightType::kInt4 : WeightType::kInt8);
        EXPECT_EQ(format.group, group);
        EXPECT_EQ(format.symmetric, symmetric);
        ops::RowReader reader(format, 300);
        for (int64_t row = 0; row < 2; ++row) {
          const CodedRow& coded = reader.ReadCodes(part, row);
          for (int64_t k = 0; k < 300; ++k) {
            ASSERT_EQ(coded.codes[k], stored.Code(row, k) - (1 << (bits - 1)));
            const int64_t g = group == 0 ? 0 : k / group;
            const float exact =
                stored.Scale(row, g) * static_cast<float>(stored.Code(row, k)) + stored.Min(row, g);
            const float byte = ops::ScaleValue(coded.scales[k / ops::SegmentOf(format)]);
            const float bound = bits == 8 ? 0x1p-11f * 128 * byte : 1.6f * byte;
            ASSERT_NEAR(ops::DecodeInput(coded, format, k), exact, bound) << k;
          }
        }
      }
    }
  }
}

TEST(WeightRoundingTest, MixedPartsTakeTheFormatThatHoldsAll) {
  const StoredCodes four(2, 256, {4, 32, false}), six(2, 256, {6, 16, true});
  const std::vector<ops::MatrixPart> parts = {&four, &six};
  EXPECT_EQ(ops::Name(ops::FormatFor(parts)), "int8-g32");
  EXPECT_FALSE(ops::KeepsCodes(six.layout(), ops::FormatFor(parts)));
  ops::RowReader reader(ops::FormatFor(parts), 256);
  std::vector<float> floats(256);
  reader.ReadFloats(parts[1], 1, floats.data());
  const CodedRow& coded = reader.ReadCodes(parts[1], 1);
  for (int64_t k = 0; k < 256; ++k) {
    const float byte = ops::ScaleValue(coded.scales[k / 32]);
    EXPECT_NEAR(ops::DecodeInput(coded, ops::FormatFor(parts), k), floats[k], 0.51f * byte);
  }
}

TEST(WeightRoundingTest, ValuesThatAreNotFiniteSpoilTheirSegmentOnly) {
  std::vector<float> w(600, 0.5f);
  w[300] = std::numeric_limits<float>::infinity();
  const ops::MatrixPart part = ViewOf(w, 1, 600);
  for (const char* text : {"int8-g256", "int4-g64", "int4-g128-asym"}) {
    const WeightFormat format = *ops::ParseWeightFormat(text);
    ops::RowReader reader(format, 600);
    const CodedRow& coded = reader.ReadCodes(part, 0);
    EXPECT_NEAR(ops::DecodeInput(coded, format, 255), 0.5f, 0.07f) << text;
    EXPECT_TRUE(std::isnan(ops::DecodeInput(coded, format, 256))) << text;
    EXPECT_NEAR(ops::DecodeInput(coded, format, 512), 0.5f, 0.07f) << text;
  }
}

}  // namespace
}  // namespace tessera::ops_test
