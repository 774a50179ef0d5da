// Linear kernels for AVX-512 BF16: vdpbf16ps on weight pairs and broadcast activation pairs.
#include <immintrin.h>

#include "tessera/backend/cpu/linear_loops.h"

namespace tessera::cpu::avx512bf16 {
namespace {

// 12 rows x 2 panels are 24 accumulators; with 2 weight registers and broadcasts, 27 of 32
// registers are live.
struct MicroBf16 {
  static constexpr int kMaxRows = 12;
  static constexpr int kSuperBlocks = 8;  // 2, 3, 4 and 8 are equal on Zen4
  static constexpr int kMaxPanels = 2;
  static constexpr int kXBytes = 2;
  static constexpr int kWBytes = 2;

  template <int R, int P>
  static void Block(const BlockArgs& a) {
    __m512 acc[R][P];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) {
        acc[r][p] = a.first ? _mm512_setzero_ps() : _mm512_load_ps(a.acc + (r * P + p) * 16);
      }
    }
    const char* x = static_cast<const char*>(a.x);
    const char* w = a.w;
    for (int64_t k = 0; k < a.inputs; k += kPrefetchInputs) {
      PrefetchRound(a, P, k / kPrefetchInputs);
#pragma GCC unroll 1
      for (int64_t i = 0; i < kPrefetchInputs; i += 2) {
        __m512bh line[P];
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p) {
          line[p] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(w + p * a.panel_bytes));
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          int pair;
          __builtin_memcpy(&pair, x + r * 4, 4);
          const __m512bh value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 2
          for (int p = 0; p < P; ++p) acc[r][p] = _mm512_dpbf16_ps(acc[r][p], line[p], value);
        }
        w += 64;
        x += R * 4;
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) _mm512_store_ps(a.acc + (r * P + p) * 16, acc[r][p]);
    }
  }
};

}  // namespace

const LinearKernel kLinearBf16 = {
    .isa = "avx512bf16",
    .x_bytes = 2,
    .row_multiple = 1,
    .max_block_rows = MicroBf16::kMaxRows,
    .pack_rows = PackRowBlocks<XLayout::kBf16Pairs, MicroBf16::kMaxRows>,
    .panels = RunPanels<MicroBf16>,
};

}  // namespace tessera::cpu::avx512bf16
