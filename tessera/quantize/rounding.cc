#include "tessera/quantize/rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tessera::quantize {
namespace {

// The best 16-level quantiser of a normal distribution spans 2.68 standard deviations (Max, 1960,
// table II); the largest of 4096 samples lies near 3.8, so whole rows want a ratio of 0.7, and
// heavier tails less. Down to one half in steps of which the error feels no difference.
constexpr int kNumRatios = 26;
constexpr float kRatioStep = 0.02f;

// Adding and subtracting it rounds to the nearest integer, ties to even, for |x| < 2^22, in two
// instructions that every vector unit has.
constexpr float kRounder = 0x1.8p23f;

float Round(float x) { return (x + kRounder) - kRounder; }

// Steps so small that their reciprocal overflows are not worth keeping.
constexpr float kSmallestScale = std::numeric_limits<float>::min() * 4;

Grid MakeGrid(float low, float high, const QuantizedLayout& layout) {
  Grid grid;
  grid.highest = (1 << layout.bits) - 1;
  if (layout.symmetric) {
    // Of 8 bits the code of -128 stays unused: it would gain 0.4 % of the range of one sign, and
    // kernels may want to negate codes. Of 4 bits it is a sixteenth of all values.
    const int32_t zero = 1 << (layout.bits - 1);
    grid.lowest = layout.bits == 8 ? 1 : 0;
    grid.scale = RoundScale(high / static_cast<float>(zero - 1), layout);
    if (grid.scale < kSmallestScale) grid.scale = 0;
    grid.min = -static_cast<float>(zero) * grid.scale;
    return grid;
  }
  grid.scale = RoundScale(
      high / static_cast<float>(grid.highest) - low / static_cast<float>(grid.highest), layout);
  if (grid.scale < kSmallestScale) grid.scale = 0;
  grid.min = RoundScale(low, layout);
  return grid;
}

float ErrorOf(const Grid& grid, std::span<const float> weights, std::span<const float> importance) {
  const float inverse = grid.scale > 0 ? 1 / grid.scale : 0;
  const float lowest = static_cast<float>(grid.lowest), highest = static_cast<float>(grid.highest);
  // Lanes of their own, so that the sum needs no order that only a scalar loop can keep.
  constexpr size_t kLanes = 8;
  float sums[kLanes] = {};
  const auto add = [&](size_t k, float* sum) {
    const float code = Round(std::clamp((weights[k] - grid.min) * inverse, lowest, highest));
    const float error = weights[k] - (grid.scale * code + grid.min);
    *sum += importance.empty() ? error * error : importance[k] * error * error;
  };
  size_t k = 0;
  for (; k + kLanes <= weights.size(); k += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) add(k + lane, &sums[lane]);
  }
  for (; k < weights.size(); ++k) add(k, &sums[0]);
  float sum = 0;
  for (const float lane : sums) sum += lane;
  return sum;
}

}  // namespace

uint8_t Grid::Code(float weight) const {
  if (scale == 0) return static_cast<uint8_t>(min == 0 ? (lowest + highest + 1) / 2 : 0);
  const float code =
      std::clamp((weight - min) / scale, static_cast<float>(lowest), static_cast<float>(highest));
  return static_cast<uint8_t>(Round(code));
}

Grid FitGrid(std::span<const float> weights, std::span<const float> importance,
             const QuantizedLayout& layout) {
  const auto [low_at, high_at] = std::minmax_element(weights.begin(), weights.end());
  float low = *low_at, high = *high_at;
  if (layout.symmetric) {
    high = std::max(std::fabs(low), std::fabs(high));
    low = -high;
  }
  Grid best;
  float least = std::numeric_limits<float>::infinity();
  const float middle = low / 2 + high / 2, reach = high / 2 - low / 2;
  for (int i = 0; i < kNumRatios; ++i) {
    const float ratio = 1 - kRatioStep * static_cast<float>(i);
    // The first range as it is: middle + reach need not give `high` back exactly.
    const Grid grid = i == 0 ? MakeGrid(low, high, layout)
                             : MakeGrid(middle - ratio * reach, middle + ratio * reach, layout);
    const float error = ErrorOf(grid, weights, importance);
    if (error < least || i == 0) {
      least = error;
      best = grid;
    }
    if (grid.scale == 0) break;  // smaller ones have none either
  }
  return best;
}

std::unique_ptr<EncodedMatrix> RoundToNearest(std::span<const float> weights, int64_t in,
                                              std::span<const float> importance,
                                              const QuantizedLayout& layout, ThreadPool& pool) {
  const int64_t out = static_cast<int64_t>(weights.size()) / in;
  const int64_t group = layout.group > 0 ? layout.group : in;
  auto encoded = std::make_unique<EncodedMatrix>(out, in, layout);
  pool.ParallelFor(out, /*grain=*/4, [&](int64_t begin, int64_t end, int /*worker*/) {
    std::vector<uint8_t> codes(static_cast<size_t>(in));
    std::vector<float> scales(static_cast<size_t>(encoded->groups())), mins(scales.size());
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t g = 0; g < encoded->groups(); ++g) {
        const size_t at = static_cast<size_t>(g * group);
        const size_t size = static_cast<size_t>(std::min(group, in - g * group));
        const auto part = weights.subspan(static_cast<size_t>(row * in) + at, size);
        const Grid grid =
            FitGrid(part, importance.empty() ? importance : importance.subspan(at, size), layout);
        for (size_t k = 0; k < size; ++k) codes[at + k] = grid.Code(part[k]);
        scales[static_cast<size_t>(g)] = grid.scale;
        mins[static_cast<size_t>(g)] = grid.min;
      }
      encoded->SetRow(row, codes, scales, mins);
    }
  });
  return encoded;
}

}  // namespace tessera::quantize
