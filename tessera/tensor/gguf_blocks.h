// The block layouts of quantised tensors in GGUF files: Q8_0, Q4_0, Q4_1, Q4_K, Q5_K, Q6_K.
//
// A row is a run of blocks, each with its own scales and no padding. Decoding gives the codes,
// scales and mins of tessera/tensor/quantized.h exactly: scale * code + min in f32 is the value
// that the public description of the format gives, bit for bit. Owns no memory; any block bytes
// decode without harm, non-finite scales included, which BlocksFinite finds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tessera/tensor/quantized.h"

namespace tessera {

enum class GgufBlock : uint8_t { kQ8_0, kQ4_0, kQ4_1, kQ4_K, kQ5_K, kQ6_K };

inline constexpr GgufBlock kGgufBlocks[] = {GgufBlock::kQ8_0, GgufBlock::kQ4_0, GgufBlock::kQ4_1,
                                            GgufBlock::kQ4_K, GgufBlock::kQ5_K, GgufBlock::kQ6_K};

struct GgufBlockFormat {
  std::string_view name;  // "Q4_K"
  int64_t weights;        // per block; a row is a whole number of blocks
  int64_t bytes;          // per block
  QuantizedLayout layout;
};

const GgufBlockFormat& FormatOf(GgufBlock type);

// Decodes `num_blocks` blocks: codes [num_blocks * weights], scales and mins one per group.
void DecodeBlocks(GgufBlock type, const std::byte* blocks, int64_t num_blocks, uint8_t* codes,
                  float* scales, float* mins);

// Whether every half-precision scale and min of the blocks is finite; then so is every value.
bool BlocksFinite(GgufBlock type, const std::byte* blocks, int64_t num_blocks);

}  // namespace tessera
