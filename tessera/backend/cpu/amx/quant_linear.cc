// Integer linear kernels for AMX: products on int8 tiles, scales applied with AVX-512.
#include <immintrin.h>

#include "tessera/backend/cpu/amx/quant_tiles.h"
#include "tessera/backend/cpu/amx/tile_instructions.h"

namespace tessera::cpu::amx {
namespace {

struct QuantTiles : TileInstructions {
  // Bytes of the panel's stream that are fetched ahead of the ones in use.
  static constexpr int64_t kAhead = 2048;

  // Lines of four-bit codes to lines of bytes 16 * q, even half first.
  static void UnpackInt4(const char* codes, int64_t inputs, char* to) {
    const __m512i high = _mm512_set1_epi8(static_cast<char>(0xf0));
    for (int64_t k = 0; k < inputs; k += 64) {
#pragma GCC unroll 8
      for (int64_t line = 0; line < kHalfLines; ++line) {
        const __m512i raw = _mm512_loadu_si512(codes + line * 64);
        _mm_prefetch(codes + line * 64 + kAhead, _MM_HINT_T0);
        _mm512_store_si512(to + line * 64, _mm512_and_si512(_mm512_slli_epi32(raw, 4), high));
        _mm512_store_si512(to + (kHalfLines + line) * 64, _mm512_and_si512(raw, high));
      }
      codes += kHalfLines * 64;
      to += 2 * kHalfLines * 64;
    }
  }

  static void PrefetchInt8(const char* codes, int64_t inputs) {
    for (int64_t byte = 0; byte < inputs * 16; byte += 64) {
      _mm_prefetch(codes + byte + 2 * kAhead, _MM_HINT_T0);
    }
  }

  static __m512 Halves(const char* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }

  static void ScaleTiles(const ScaleTileArgs& a) {
    __m512 acc[kTileRows];
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
      acc[r] = a.first ? _mm512_setzero_ps() : _mm512_load_ps(a.acc + r * 16);
    }
    const int32_t* tiles = a.tiles;
    const char* header = a.header;
    for (int64_t s = 0; s < a.segments; ++s) {
      const float* x = reinterpret_cast<const float*>(header);
      const __m512 scale = Halves(a.scales + s * a.scale_step);
#pragma GCC unroll 16
      for (int r = 0; r < kTileRows; ++r) {
        const __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512(tiles + r * 16));
        acc[r] = _mm512_fmadd_ps(dot, _mm512_mul_ps(_mm512_set1_ps(x[r]), scale), acc[r]);
      }
      if (a.mins != nullptr) {
        const __m512 min = Halves(a.mins + s * a.scale_step);
#pragma GCC unroll 16
        for (int r = 0; r < kTileRows; ++r) {
          acc[r] = _mm512_fmadd_ps(_mm512_set1_ps(x[kTileRows + r]), min, acc[r]);
        }
      }
      tiles += a.tile_step;
      header += a.header_step;
    }
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) _mm512_store_ps(a.acc + r * 16, acc[r]);
  }
};

}  // namespace

const LinearKernel kLinearInt8 = QuantTileKernel<QuantTiles, 8>("amx");
const LinearKernel kLinearInt4 = QuantTileKernel<QuantTiles, 4>("amx");

}  // namespace tessera::cpu::amx
