// Counter-based random numbers (Philox 4x32-10; Salmon et al., SC'11).
//
// A number is a pure function of (seed, position, step, purpose, index), so a result never depends
// on batch mates, thread count or rollback. There is no hidden state to advance.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace tessera {

enum class RngPurpose : uint32_t {
  kToken = 1,    // Gumbel noise per vocabulary entry
  kCommit = 2,   // which positions are committed
  kCanvas = 3,   // canvas policies
  kWeights = 4,  // synthetic checkpoints
  kTest = 5,
  kCalibration = 6,  // mask ratios and masked tokens of calibration texts
};

// What one stream of numbers is keyed by. For draws that must be the same with and without
// drafting, leave `step` at 0.
struct RngKey {
  uint64_t seed = 0;
  int32_t position = 0;
  int32_t step = 0;
};

inline std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

// Four 32-bit words for block `index` of the stream (key, purpose).
inline std::array<uint32_t, 4> RandomWords(const RngKey& key, RngPurpose purpose, uint32_t index) {
  return Philox4x32({index, static_cast<uint32_t>(key.position), static_cast<uint32_t>(key.step),
                     static_cast<uint32_t>(purpose)},
                    key.seed);
}

// Uniform in the open interval (0, 1) with 32 random bits: never 0, never 1.
inline double UniformFromWord(uint32_t word) { return (word + 0.5) * 0x1p-32; }

inline double Uniform(const RngKey& key, RngPurpose purpose, uint32_t index) {
  return UniformFromWord(RandomWords(key, purpose, index / 4)[index % 4]);
}

// Standard Gumbel noise: argmax over v of (logit_v / T + Gumbel_v) samples softmax(logit / T).
inline double GumbelFromWord(uint32_t word) { return -std::log(-std::log(UniformFromWord(word))); }

}  // namespace tessera
