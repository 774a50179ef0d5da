// A software model of the AMX tile instructions that the kernels use, for tests on any machine.
//
// Follows the operation sections of the Intel SDM (LDTILECFG, TILELOADD, TILESTORED, TDPBF16PS,
// TDPBSSD).
// What would fault on hardware fails a CHECK. Tile state is per thread, as in hardware.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tessera/backend/cpu/amx/linear_tiles.h"
#include "tessera/backend/cpu/amx/quant_tiles.h"
#include "tessera/base/check.h"
#include "tessera/ops/weight_rounding.h"
#include "tessera/tensor/dtype.h"

namespace tessera::cpu {
namespace {

struct TileModel {
  struct State {
    bool configured;
    TileConfig config;
    uint8_t bytes[8][16][64];
  };
  inline static thread_local State state = {};

  static void Configure(const TileConfig& config) {
    TESSERA_CHECK(config.palette == 1 && config.start_row == 0);
    for (const uint8_t byte : config.reserved) TESSERA_CHECK(byte == 0);
    for (int tile = 0; tile < 16; ++tile) {
      if (tile < 8) {
        TESSERA_CHECK(config.rows[tile] <= 16 && config.bytes_per_row[tile] <= 64);
        // Both or neither are zero.
        TESSERA_CHECK((config.rows[tile] == 0) == (config.bytes_per_row[tile] == 0));
      } else {
        TESSERA_CHECK(config.rows[tile] == 0 && config.bytes_per_row[tile] == 0);
      }
    }
    state.config = config;
    state.configured = true;
    std::memset(state.bytes, 0, sizeof(state.bytes));
  }

  static void Release() {
    state.configured = false;
    // Hardware zeroes the tiles; a pattern shows any later use at once.
    std::memset(state.bytes, 0xff, sizeof(state.bytes));
  }

  template <int kTile>
  static void CheckUsable() {
    static_assert(kTile >= 0 && kTile < 8);
    TESSERA_CHECK(state.configured && state.config.rows[kTile] > 0);
  }

  template <int kTile>
  static void Zero() {
    CheckUsable<kTile>();
    std::memset(state.bytes[kTile], 0, sizeof(state.bytes[kTile]));
  }

  template <int kTile>
  static void Load(const void* from, int64_t stride) {
    Zero<kTile>();
    for (int row = 0; row < state.config.rows[kTile]; ++row) {
      std::memcpy(state.bytes[kTile][row], static_cast<const char*>(from) + row * stride,
                  state.config.bytes_per_row[kTile]);
    }
  }

  template <int kTile>
  static void Store(void* to, int64_t stride) {
    CheckUsable<kTile>();
    for (int row = 0; row < state.config.rows[kTile]; ++row) {
      std::memcpy(static_cast<char*>(to) + row * stride, state.bytes[kTile][row],
                  state.config.bytes_per_row[kTile]);
    }
  }

  // Denormal inputs are zero and denormal results flushed, whatever MXCSR says.
  static float Flushed(float value) {
    return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
  }
  static float FloatAt(int tile, int row, int index) {
    uint16_t bits;
    std::memcpy(&bits, &state.bytes[tile][row][2 * index], 2);
    return Flushed(FloatOf(static_cast<uint32_t>(bits) << 16));
  }

  template <int kSum, int kA, int kB>
  static void CheckProduct() {
    CheckUsable<kSum>();
    CheckUsable<kA>();
    CheckUsable<kB>();
    static_assert(kSum != kA && kSum != kB && kA != kB);
    TESSERA_CHECK(state.config.rows[kSum] == state.config.rows[kA]);
    TESSERA_CHECK(state.config.bytes_per_row[kSum] == state.config.bytes_per_row[kB]);
    TESSERA_CHECK(state.config.bytes_per_row[kA] == 4 * state.config.rows[kB]);
  }

  // Even and odd inputs are summed apart, by fused multiply-add from zero, then added together and
  // to the accumulator.
  template <int kSum, int kA, int kB>
  static void DotBf16() {
    CheckProduct<kSum, kA, kB>();
    const TileConfig& config = state.config;
    for (int m = 0; m < config.rows[kA]; ++m) {
      float sums[32] = {};
      for (int k = 0; k < config.bytes_per_row[kA] / 4; ++k) {
        for (int n = 0; n < config.bytes_per_row[kSum] / 2; ++n) {
          sums[n] = Flushed(std::fma(FloatAt(kA, m, 2 * k + n % 2), FloatAt(kB, k, n), sums[n]));
        }
      }
      for (int n = 0; n < config.bytes_per_row[kSum] / 4; ++n) {
        float sum;
        std::memcpy(&sum, &state.bytes[kSum][m][4 * n], 4);
        sum = Flushed(Flushed(sum) + Flushed(sums[2 * n] + sums[2 * n + 1]));
        std::memcpy(&state.bytes[kSum][m][4 * n], &sum, 4);
      }
    }
  }

  template <int kSum, int kA, int kB>
  static void DotInt8() {
    CheckProduct<kSum, kA, kB>();
    const TileConfig& config = state.config;
    for (int m = 0; m < config.rows[kA]; ++m) {
      for (int n = 0; n < config.bytes_per_row[kSum] / 4; ++n) {
        int32_t sum;
        std::memcpy(&sum, &state.bytes[kSum][m][4 * n], 4);
        for (int k = 0; k < config.bytes_per_row[kA]; ++k) {
          sum += static_cast<int8_t>(state.bytes[kA][m][k]) *
                 static_cast<int8_t>(state.bytes[kB][k / 4][4 * n + k % 4]);
        }
        std::memcpy(&state.bytes[kSum][m][4 * n], &sum, 4);
      }
    }
  }

  // The vector operations that amx/quant_linear.cc does between the tiles.
  static constexpr int64_t kAheadBytes = 512;
  static void Prefetch(const char*, int64_t) {}
  static char Byte(const HalfCodes& half, int feature, int code) {
    const auto ratio = static_cast<int8_t>(half.ratios[feature]);
    const auto offset = static_cast<int8_t>(half.offsets == nullptr ? 0 : half.offsets[feature]);
    return static_cast<char>(ops::ExpandCode(ratio, offset, code));
  }
  static void Expand(const char* codes, const HalfCodes& low, const HalfCodes& high, char* to) {
    for (int f = 0; f < 16; ++f) {
      for (int64_t j = 0; j < 32; ++j) {
        const auto pair = static_cast<int8_t>(codes[f * 32 + j]);
        to[f * 64 + j] = Byte(low, f, static_cast<int8_t>(pair << 4) >> 4);
        to[f * 64 + 32 + j] = Byte(high, f, pair >> 4);
      }
    }
  }
  static void ReadScales(const char* from, float* to) {
    for (int i = 0; i < 16; ++i) {
      uint16_t bits;
      std::memcpy(&bits, from + i * 2, 2);
      to[i] = FloatFromF16(bits);
    }
  }
  static void ScaleTile(const ScaleTileArgs& a) {
    for (int i = 0; i < kTileFloats; ++i) {
      const float scale = a.x_scales[i % 16] * a.scales[i / 16];
      a.acc[i] = std::fma(static_cast<float>(a.tile[i]), scale, a.first ? 0.0f : a.acc[i]);
    }
  }
};

}  // namespace
}  // namespace tessera::cpu
