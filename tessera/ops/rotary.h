// Cosines and sines of rotary embeddings, the same on every device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera::ops {

// Extends a table of [positions, 2 * frequencies]: the cosines of position * frequency in f32, then
// the sines. Keeps the entries that are there, also where they are already more.
void ExtendRotaryTable(std::span<const float> frequencies, int64_t positions,
                       std::vector<float>* table);

}  // namespace tessera::ops
