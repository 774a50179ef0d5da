#include "tessera/quantize/rounding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tessera/formats/quantized_checkpoint.h"
#include "tessera/quantize/testing.h"

namespace tessera::quantize {
namespace {

double SquaredError(std::span<const float> weights, const EncodedMatrix& encoded,
                    std::span<const float> importance) {
  const size_t in = static_cast<size_t>(encoded.shape()[1]);
  std::vector<float> row(in);
  double sum = 0;
  for (int64_t r = 0; r < encoded.shape()[0]; ++r) {
    encoded.Dequantize(r, row);
    for (size_t k = 0; k < in; ++k) {
      const double error = weights[static_cast<size_t>(r) * in + k] - row[k];
      sum += (importance.empty() ? 1 : importance[k]) * error * error;
    }
  }
  return sum;
}

// Plain absmax, or min and max, of one group: what the search must never fall behind. Written out
// by itself, with the scale as it is stored.
double PlainError(std::span<const float> weights, std::span<const float> importance,
                  const QuantizedLayout& layout) {
  const auto [low, high] = std::minmax_element(weights.begin(), weights.end());
  const float levels = static_cast<float>((1 << layout.bits) - 1);
  float scale, min, lowest = 0;
  if (layout.symmetric) {
    const float zero = static_cast<float>(1 << (layout.bits - 1));
    scale = RoundScale(std::max(-*low, *high) / (zero - 1), layout);
    min = -zero * scale;
    lowest = layout.bits == 8 ? 1.0f : 0.0f;
  } else {
    scale = RoundScale((*high - *low) / levels, layout);
    min = RoundScale(*low, layout);
  }
  double sum = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    const float code = std::clamp(std::nearbyint((weights[k] - min) / scale), lowest, levels);
    const double error = weights[k] - (scale * code + min);
    sum += (importance.empty() ? 1 : importance[k]) * error * error;
  }
  return sum;
}

TEST(FitGrid, NeverWorseThanPlainAndBetterForOutliers) {
  for (const QuantizedLayout& layout : EveryLayout()) {
    double searched = 0, plain = 0;
    for (uint64_t seed = 0; seed < 50; ++seed) {
      std::vector<float> weights = Normal(128, seed);
      if (seed % 2 == 1) weights[static_cast<size_t>(seed)] *= 6;  // an outlier
      std::vector<float> importance = Normal(128, 1000 + seed);
      for (float& value : importance) value *= value;
      const Grid grid = FitGrid(weights, importance, layout);
      double sum = 0;
      for (size_t k = 0; k < weights.size(); ++k) {
        const double error = weights[k] - grid.Value(grid.Code(weights[k]));
        sum += importance[k] * error * error;
      }
      const double bound = PlainError(weights, importance, layout);
      // The search adds up in f32.
      EXPECT_LE(sum, bound * (1 + 1e-4)) << LayoutName(layout) << " seed " << seed;
      searched += sum;
      plain += bound;
    }
    if (layout.bits == 4) {
      EXPECT_LT(searched, 0.9 * plain) << LayoutName(layout);
    }
  }
}

TEST(RoundToNearest, ErrorStaysBelowHalfAStep) {
  ThreadPool pool(2);
  for (const QuantizedLayout& layout : EveryLayout()) {
    const int64_t in = 200, out = 9;  // the last group is not whole
    const std::vector<float> weights = Normal(static_cast<size_t>(out * in), 7);
    const auto encoded = RoundToNearest(weights, in, {}, layout, pool);
    EXPECT_LT(SquaredError(weights, *encoded, {}),
              (layout.bits == 4 ? 0.02 : 1e-4) * static_cast<double>(out * in))
        << LayoutName(layout);
    // Codes are the nearest: no neighbouring code would be nearer.
    std::vector<uint8_t> codes(static_cast<size_t>(in));
    std::vector<float> scales(static_cast<size_t>(encoded->groups())), mins(scales.size());
    for (int64_t row = 0; row < out; ++row) {
      encoded->ReadRow(row, codes.data(), scales.data(), mins.data());
      for (int64_t k = 0; k < in; ++k) {
        const size_t g = static_cast<size_t>(layout.group > 0 ? k / layout.group : 0);
        const float weight = weights[static_cast<size_t>(row * in + k)];
        const int code = codes[static_cast<size_t>(k)];
        const auto distance = [&](int c) {
          return std::fabs(weight - (scales[g] * static_cast<float>(c) + mins[g]));
        };
        const int lowest = layout.symmetric && layout.bits == 8 ? 1 : 0;
        const int highest = (1 << layout.bits) - 1;
        EXPECT_LE(distance(code), distance(std::max(code - 1, lowest)) * 1.001f);
        EXPECT_LE(distance(code), distance(std::min(code + 1, highest)) * 1.001f);
      }
    }
  }
}

// Small weights keep their relative precision, whatever their size: f16 scales would not.
TEST(RoundToNearest, TinyAndHugeWeights) {
  ThreadPool pool(1);
  for (const QuantizedLayout& layout : EveryLayout()) {
    std::vector<float> weights = Normal(256, 3);
    const double relative =
        SquaredError(weights, *RoundToNearest(weights, 256, {}, layout, pool), {});
    for (const float factor : {0x1p-80f, 0x1p-20f, 0x1p60f}) {
      std::vector<float> scaled = weights;
      for (float& weight : scaled) weight *= factor;
      const auto encoded = RoundToNearest(scaled, 256, {}, layout, pool);
      const double error =
          SquaredError(scaled, *encoded, {}) / (static_cast<double>(factor) * factor);
      EXPECT_LT(error, 1.5 * relative + 1e-9) << LayoutName(layout) << " times " << factor;
    }
  }
}

TEST(RoundToNearest, ConstantGroups) {
  ThreadPool pool(1);
  for (const QuantizedLayout& layout : EveryLayout()) {
    for (const float value : {0.0f, 0.5f, -0.5f, std::numeric_limits<float>::denorm_min()}) {
      const std::vector<float> weights(64, value);
      std::vector<float> back(64);
      RoundToNearest(weights, 64, {}, layout, pool)->Dequantize(0, back);
      for (const float weight : back) EXPECT_NEAR(weight, value, 1e-3) << LayoutName(layout);
      if (value == 0) {
        EXPECT_EQ(back, weights) << LayoutName(layout);
      }
    }
  }
}

TEST(RoundToNearest, ImportanceDecidesWhatIsCut) {
  ThreadPool pool(1);
  const QuantizedLayout layout{.bits = 4, .group = 0, .symmetric = true};
  std::vector<float> weights = Normal(64, 5);
  weights[10] = 12;
  std::vector<float> importance(64, 1.0f);
  std::vector<float> cut(64), kept(64);
  RoundToNearest(weights, 64, importance, layout, pool)->Dequantize(0, cut);
  importance[10] = 1000;
  RoundToNearest(weights, 64, importance, layout, pool)->Dequantize(0, kept);
  EXPECT_LT(std::fabs(kept[10] - 12), 0.5);
  EXPECT_LT(cut[10], kept[10]);
}

}  // namespace
}  // namespace tessera::quantize
