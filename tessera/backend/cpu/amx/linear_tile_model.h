// A software model of the AMX tile instructions that the kernels use, for tests on any machine.
//
// Follows the operation sections of the Intel SDM (LDTILECFG, TILELOADD, TILESTORED, TDPBF16PS).
// What would fault on hardware fails a CHECK. Tile state is per thread, as in hardware.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tessera/backend/cpu/amx/linear_tiles.h"
#include "tessera/base/check.h"

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

  // Even and odd inputs are summed apart, by fused multiply-add from zero, then added together and
  // to the accumulator.
  template <int kSum, int kA, int kB>
  static void DotBf16() {
    CheckUsable<kSum>();
    CheckUsable<kA>();
    CheckUsable<kB>();
    static_assert(kSum != kA && kSum != kB && kA != kB);
    const TileConfig& config = state.config;
    TESSERA_CHECK(config.rows[kSum] == config.rows[kA]);
    TESSERA_CHECK(config.bytes_per_row[kSum] == config.bytes_per_row[kB]);
    TESSERA_CHECK(config.bytes_per_row[kA] == 4 * config.rows[kB]);
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
};

}  // namespace
}  // namespace tessera::cpu
