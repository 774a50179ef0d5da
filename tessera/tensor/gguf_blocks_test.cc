// Every block type against the public `gguf` package (testdata/make_gguf_blocks.py) and, on random
// blocks, against one weight at a time as the description of the format has it.
#include "tessera/tensor/gguf_blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tessera/tensor/dtype.h"

namespace tessera {
namespace {

using Bytes = std::vector<std::byte>;

int64_t GroupsOf(const GgufBlockFormat& format) { return format.weights / format.layout.group; }

struct Decoded {
  std::vector<uint8_t> codes;
  std::vector<float> scales, mins;
};

// Guards around the outputs prove that decoding stays inside them.
Decoded Decode(GgufBlock type, const std::byte* blocks, int64_t count) {
  const GgufBlockFormat& format = FormatOf(type);
  const size_t codes = static_cast<size_t>(count * format.weights);
  const size_t groups = static_cast<size_t>(count * GroupsOf(format));
  Decoded d{std::vector<uint8_t>(codes + 2, 0xee), std::vector<float>(groups + 2, -7.5f),
            std::vector<float>(groups + 2, -7.5f)};
  DecodeBlocks(type, blocks, count, d.codes.data() + 1, d.scales.data() + 1, d.mins.data() + 1);
  const auto strip = [](auto* values, auto guard) {
    EXPECT_EQ(values->front(), guard);
    EXPECT_EQ(values->back(), guard);
    values->erase(values->begin());
    values->pop_back();
  };
  strip(&d.codes, uint8_t{0xee});
  strip(&d.scales, -7.5f);
  strip(&d.mins, -7.5f);
  return d;
}

std::vector<float> Values(GgufBlock type, const Decoded& d) {
  std::vector<float> values;
  const size_t group = static_cast<size_t>(FormatOf(type).layout.group);
  for (size_t i = 0; i < d.codes.size(); ++i) {
    values.push_back(d.scales[i / group] * d.codes[i] + d.mins[i / group]);
  }
  return values;
}

float Half(const uint8_t* at) { return FloatFromF16(static_cast<uint16_t>(at[0] | at[1] << 8)); }

// Weight i of one block in double, straight from the description of the format.
double WeightAt(GgufBlock type, const uint8_t* block, int i) {
  const auto nibble = [&](int offset, int half) {  // low halves hold the first `half` weights
    return i % (2 * half) < half ? block[offset + i % half] & 15 : block[offset + i % half] >> 4;
  };
  const auto k_scale = [&](int g, bool min) {
    const uint8_t* p = block + 4;
    const int at = g % 4 + (min ? 4 : 0);
    if (g < 4) return p[at] & 63;
    return (min ? p[8 + g % 4] >> 4 : p[8 + g % 4] & 15) + (p[at] >> 6) * 16;
  };
  switch (type) {
    case GgufBlock::kQ8_0: return 1.0 * Half(block) * static_cast<int8_t>(block[2 + i]);
    case GgufBlock::kQ4_0: return 1.0 * Half(block) * (nibble(2, 16) - 8);
    case GgufBlock::kQ4_1: return 1.0 * Half(block) * nibble(4, 16) + Half(block + 2);
    case GgufBlock::kQ4_K:
    case GgufBlock::kQ5_K: {
      const int g = i / 32, pair = i / 64;
      int q = nibble((type == GgufBlock::kQ4_K ? 16 : 48) + pair * 32, 32);
      if (type == GgufBlock::kQ5_K) q += ((block[16 + i % 32] >> g) & 1) * 16;
      return 1.0 * Half(block) * k_scale(g, false) * q - 1.0 * Half(block + 2) * k_scale(g, true);
    }
    case GgufBlock::kQ6_K: {
      const int part = i % 128 / 32;  // of the four runs of 32 weights in each half
      const uint8_t low = block[i / 128 * 64 + part % 2 * 32 + i % 32];
      const int two = (block[128 + i / 128 * 32 + i % 32] >> (2 * part)) & 3;
      const int q = (part < 2 ? low & 15 : low >> 4) + two * 16;
      return 1.0 * Half(block + 208) * static_cast<int8_t>(block[192 + i / 16]) * (q - 32);
    }
  }
  return 0;
}

class GgufBlocks : public ::testing::TestWithParam<GgufBlock> {};

INSTANTIATE_TEST_SUITE_P(Types, GgufBlocks, ::testing::ValuesIn(kGgufBlocks),
                         [](const auto& test) { return std::string(FormatOf(test.param).name); });

TEST_P(GgufBlocks, EqualThePublicPackageBitForBit) {
  std::ifstream file(TESSERA_SOURCE_DIR "/tessera/tensor/testdata/gguf_blocks.bin",
                     std::ios::binary);
  const std::string data{std::istreambuf_iterator<char>(file), {}};
  ASSERT_EQ(data.size(), 29024u);
  size_t at = 0;
  for (const GgufBlock type : kGgufBlocks) {
    uint32_t count = 0;
    std::memcpy(&count, data.data() + at, 4);
    const std::byte* blocks = reinterpret_cast<const std::byte*>(data.data()) + at + 4;
    at += 4 + count * static_cast<size_t>(FormatOf(type).bytes);
    std::vector<float> expected(count * static_cast<size_t>(FormatOf(type).weights));
    std::memcpy(expected.data(), data.data() + at, expected.size() * 4);
    at += expected.size() * 4;
    if (type != GetParam()) continue;
    ASSERT_EQ(expected.size(), 1024u);
    EXPECT_TRUE(BlocksFinite(type, blocks, count));
    const std::vector<float> values = Values(type, Decode(type, blocks, count));
    for (size_t i = 0; i < values.size(); ++i) {
      // Equal, not identical: a zero may have either sign.
      ASSERT_EQ(values[i], expected[i]) << "weight " << i;
    }
  }
  EXPECT_EQ(at, data.size());
}

TEST_P(GgufBlocks, EqualTheDescriptionWeightByWeight) {
  const GgufBlockFormat& format = FormatOf(GetParam());
  std::mt19937 rng(3);
  constexpr int kCount = 64;
  Bytes blocks(static_cast<size_t>(kCount * format.bytes) + 1);
  for (std::byte& byte : blocks) byte = static_cast<std::byte>(rng());
  const std::byte* odd = blocks.data() + 1;  // files give no alignment
  const Decoded d = Decode(GetParam(), odd, kCount);
  const std::vector<float> values = Values(GetParam(), d);
  for (const uint8_t code : d.codes) ASSERT_LT(code, 1 << format.layout.bits);
  for (size_t g = 0; g < d.scales.size() && format.layout.symmetric; ++g) {
    if (!std::isfinite(d.scales[g])) continue;
    ASSERT_EQ(d.mins[g], -static_cast<float>(1 << (format.layout.bits - 1)) * d.scales[g]);
  }
  int finite = 0;
  for (int b = 0; b < kCount; ++b) {
    const uint8_t* block = reinterpret_cast<const uint8_t*>(odd) + b * format.bytes;
    if (!BlocksFinite(GetParam(), odd + b * format.bytes, 1)) continue;
    ++finite;
    for (int i = 0; i < format.weights; ++i) {
      const float expected = static_cast<float>(WeightAt(GetParam(), block, i));
      ASSERT_EQ(values[static_cast<size_t>(b * format.weights + i)], expected) << b << ", " << i;
    }
  }
  EXPECT_GT(finite, kCount / 2);
}

TEST_P(GgufBlocks, NonFiniteScalesAreFoundWhereverTheyAre) {
  const GgufBlockFormat& format = FormatOf(GetParam());
  const bool two = !format.layout.symmetric;
  const int64_t first = GetParam() == GgufBlock::kQ6_K ? 208 : 0;
  Bytes blocks(static_cast<size_t>(5 * format.bytes), std::byte{0xff});
  const auto set = [&](int64_t at, uint16_t half) { std::memcpy(&blocks[at], &half, 2); };
  for (int64_t b = 0; b < 5; ++b) {
    set(b * format.bytes + first, 0x7bff);  // the largest finite half
    if (two) set(b * format.bytes + 2, 0xfbff);
  }
  EXPECT_TRUE(BlocksFinite(GetParam(), blocks.data(), 5));
  for (const float value : Values(GetParam(), Decode(GetParam(), blocks.data(), 5))) {
    ASSERT_TRUE(std::isfinite(value));
  }
  for (int64_t b = 0; b < 5; ++b) {
    for (const int64_t field : {first, two ? int64_t{2} : first}) {
      for (const int bad : {0x7c00, 0xfc00, 0x7e01}) {
        set(b * format.bytes + field, static_cast<uint16_t>(bad));
        EXPECT_FALSE(BlocksFinite(GetParam(), blocks.data(), 5));
      }
      set(b * format.bytes + field, 0x7bff);
    }
  }
}

}  // namespace
}  // namespace tessera
