// Integer linear kernels for AMX: products on int8 tiles, scales applied with AVX-512.
#include <immintrin.h>

#include "tessera/backend/cpu/amx/quant_tiles.h"
#include "tessera/backend/cpu/amx/tile_instructions.h"

namespace tessera::cpu::amx {
namespace {

struct QuantTiles : TileInstructions {
  // Of a panel's codes. From memory, one core, 32 rows, ns per 1024 weights in int4-g64 and int8:
  // none 65 and 88, 512 bytes 61 and 83, 1 KiB 56 and 81, 2 KiB 52 and 78, 4 KiB 51 and 80.
  static constexpr int64_t kAheadBytes = 2048;

  static void Prefetch(const char* from, int64_t bytes) {
    // Not the intrinsic: GCC 12 takes a loop of nothing else for an empty one and drops it.
    for (int64_t byte = 0; byte < bytes; byte += 64) {
      asm volatile("prefetcht0 %0" : : "m"(from[byte]));
    }
  }

  static __m128i Table(char ratio) {
    const auto* table = kCodeTables.of[static_cast<unsigned char>(ratio)];
    return _mm_load_si128(reinterpret_cast<const __m128i*>(table));
  }

  // 64 inputs of 16 features -> [16][64] bytes. Each lane of a register looks its codes up in the
  // table of its feature's ratio.
  static void Expand(const char* codes, const HalfCodes& low, const HalfCodes& high, char* to) {
    // Bit matrices that move the low four bits of a byte, or the high four, to the low four.
    const __m512i pick = _mm512_inserti64x4(_mm512_set1_epi64(0x0102040800000000),
                                            _mm256_set1_epi64x(0x1020408000000000), 1);
    const bool one_ratio = low.ratios == high.ratios;
#pragma GCC unroll 4
    for (int f = 0; f < 16; ++f) {
      const __m512i raw = _mm512_broadcast_i64x4(
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + f * 32)));
      const __m512i index = _mm512_gf2p8affine_epi64_epi8(raw, pick, 0);
      __m512i table = _mm512_broadcast_i32x4(Table(low.ratios[f]));
      if (!one_ratio) table = _mm512_mask_broadcast_i32x4(table, 0xff00, Table(high.ratios[f]));
      __m512i bytes = _mm512_shuffle_epi8(table, index);
      if (low.offsets != nullptr) {
        bytes = _mm512_adds_epi8(bytes, _mm512_inserti64x4(_mm512_set1_epi8(low.offsets[f]),
                                                           _mm256_set1_epi8(high.offsets[f]), 1));
      }
      _mm512_store_si512(to + f * 64, bytes);
    }
  }

  static void ReadScales(const char* from, float* to) {
    _mm512_store_ps(to,
                    _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
  }

  static void ScaleTile(const ScaleTileArgs& a) {
    const __m512 x = _mm512_loadu_ps(a.x_scales);
#pragma GCC unroll 16
    for (int f = 0; f < 16; ++f) {
      float* acc = a.acc + f * 16;
      const __m512 before = a.first ? _mm512_setzero_ps() : _mm512_load_ps(acc);
      const __m512 both = _mm512_mul_ps(x, _mm512_set1_ps(a.scales[f]));
      const __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512(a.tile + f * 16));
      _mm512_store_ps(acc, _mm512_fmadd_ps(dot, both, before));
    }
  }
};

}  // namespace

const LinearKernel kLinearInt8 = QuantTileKernel<QuantTiles, 8>("amx");
const LinearKernel kLinearInt4 = QuantTileKernel<QuantTiles, 4>("amx");

}  // namespace tessera::cpu::amx
