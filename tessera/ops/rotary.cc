#include "tessera/ops/rotary.h"

#include <cmath>

namespace tessera::ops {

void ExtendRotaryTable(std::span<const float> frequencies, int64_t positions,
                       std::vector<float>* table) {
  const size_t half = frequencies.size(), width = 2 * half;
  const size_t begin = table->size() / width, end = static_cast<size_t>(positions);
  if (begin >= end) return;
  table->resize(end * width);
  for (size_t position = begin; position < end; ++position) {
    float* entry = &(*table)[position * width];
    for (size_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies[i];
      entry[i] = std::cos(angle);
      entry[half + i] = std::sin(angle);
    }
  }
}

}  // namespace tessera::ops
