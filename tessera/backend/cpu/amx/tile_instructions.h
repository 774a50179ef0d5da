// The AMX instructions as the `Tiles` of linear_tiles.h and quant_tiles.h; AMX folder only.
#pragma once

#include "tessera/backend/cpu/amx/linear_tiles.h"

namespace tessera::cpu {
namespace {

// Not the compiler's intrinsics: GCC 12 declares that _tile_loadconfig reads 8 bytes and that
// _tile_loadd reads none, and may then drop or delay the stores before them.
struct TileInstructions {
  static void Configure(const TileConfig& config) {
    asm volatile("ldtilecfg %0" : : "m"(config) : "memory");
  }
  static void Release() { asm volatile("tilerelease" : : : "memory"); }
  template <int kTile>
  static void Zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void Load(const void* from, int64_t stride) {
    // The unbounded array stands for all that is read: no need to reload everything else.
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2"
                 :
                 : "r"(from), "r"(stride), "i"(kTile), "m"(*static_cast<const char(*)[]>(from)));
  }
  template <int kTile>
  static void Store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c3, (%1,%2,1)"
                 : "=m"(*static_cast<char(*)[]>(to))
                 : "r"(to), "r"(stride), "i"(kTile));
  }
  // kSum [16 rows][16 outputs] f32 += kA [16 rows][16 pairs] * kB [16 pairs][16 outputs]
  template <int kSum, int kA, int kB>
  static void DotBf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
  // kSum [rows][16 outputs] i32 += kA [rows][quads] * kB [quads][16 outputs], signed bytes
  template <int kSum, int kA, int kB>
  static void DotInt8() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace tessera::cpu
