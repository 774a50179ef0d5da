// Helpers shared by the tests of this room: seeded numbers, the identity of layouts under test.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "tessera/base/rng.h"
#include "tessera/tensor/quantized.h"

namespace tessera::quantize {

// Standard normal numbers (Box and Muller), a pure function of seed and index.
inline std::vector<float> Normal(size_t count, uint64_t seed) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    const RngKey key{.seed = seed, .position = static_cast<int32_t>(i), .step = 0};
    const double u = Uniform(key, RngPurpose::kTest, 0), v = Uniform(key, RngPurpose::kTest, 1);
    values[i] = static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v));
  }
  return values;
}

inline std::vector<QuantizedLayout> EveryLayout() {
  std::vector<QuantizedLayout> layouts;
  for (const int32_t bits : {4, 8}) {
    for (const int32_t group : {0, 32, 64, 128}) {
      for (const bool symmetric : {true, false}) layouts.push_back({bits, group, symmetric});
    }
  }
  return layouts;
}

}  // namespace tessera::quantize
