// Linear kernels for AVX-512 F: f32 fused multiply-add; bf16 weights are widened in registers.
#include <immintrin.h>

#include "tessera/backend/cpu/linear_loops.h"

namespace tessera::cpu::avx512 {
namespace {

// 12 rows x 2 panels are 24 accumulators; with 2 raw and 2 widened weight registers and a
// broadcast, 29 of 32 registers are live.
struct MicroBase {
  static constexpr int kMaxRows = 12;
  static constexpr int kSuperBlocks = 8;  // 2, 3, 4 and 8 are equal on Zen4
  static constexpr int kMaxPanels = 2;
  static constexpr int kXBytes = 4;

  template <int R, int P>
  static void Load(const BlockArgs& a, __m512 (&acc)[R][P]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) {
        acc[r][p] = a.first ? _mm512_setzero_ps() : _mm512_load_ps(a.acc + (r * P + p) * 16);
      }
    }
  }
  template <int R, int P>
  static void MultiplyAdd(const float* x, const __m512 (&w)[P], __m512 (&acc)[R][P]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512 value = _mm512_set1_ps(x[r]);
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) acc[r][p] = _mm512_fmadd_ps(value, w[p], acc[r][p]);
    }
  }
  template <int R, int P>
  static void Store(const BlockArgs& a, const __m512 (&acc)[R][P]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) _mm512_store_ps(a.acc + (r * P + p) * 16, acc[r][p]);
    }
  }
};

struct MicroF32 : MicroBase {
  static constexpr int kWBytes = 4;
  template <int R, int P>
  static void Block(const BlockArgs& a) {
    __m512 acc[R][P];
    Load(a, acc);
    const float* x = static_cast<const float*>(a.x);
    const char* w = a.w;
    for (int64_t k = 0; k < a.inputs; k += kPrefetchInputs) {
      PrefetchRound(a, P, k / kPrefetchInputs);
#pragma GCC unroll 1
      for (int64_t i = 0; i < kPrefetchInputs; ++i) {
        __m512 line[P];
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p) line[p] = _mm512_loadu_ps(w + p * a.panel_bytes);
        MultiplyAdd(x, line, acc);
        w += 64;
        x += R;
      }
    }
    Store(a, acc);
  }
};

struct MicroBf16 : MicroBase {
  static constexpr int kWBytes = 2;
  template <int R, int P>
  static void Block(const BlockArgs& a) {
    __m512 acc[R][P];
    Load(a, acc);
    const __m512i high_half = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    const float* x = static_cast<const float*>(a.x);
    const char* w = a.w;
    for (int64_t k = 0; k < a.inputs; k += kPrefetchInputs) {
      PrefetchRound(a, P, k / kPrefetchInputs);
#pragma GCC unroll 1
      for (int64_t i = 0; i < kPrefetchInputs; i += 2) {
        __m512 even[P], odd[P];
#pragma GCC unroll 2
        for (int p = 0; p < P; ++p) {
          const __m512i line = _mm512_loadu_si512(w + p * a.panel_bytes);
          even[p] = _mm512_castsi512_ps(_mm512_slli_epi32(line, 16));
          odd[p] = _mm512_castsi512_ps(_mm512_and_si512(line, high_half));
        }
        MultiplyAdd(x, even, acc);
        MultiplyAdd(x + R, odd, acc);
        w += 64;
        x += 2 * R;
      }
    }
    Store(a, acc);
  }
};

}  // namespace

const LinearKernel kLinearF32 = {
    .isa = "avx512",
    .x_bytes = 4,
    .row_multiple = 1,
    .max_block_rows = MicroBase::kMaxRows,
    .pack_rows = PackRowBlocks<XLayout::kF32, MicroBase::kMaxRows>,
    .panels = RunPanels<MicroF32>,
};
const LinearKernel kLinearBf16 = {
    .isa = "avx512",
    .x_bytes = 4,
    .row_multiple = 1,
    .max_block_rows = MicroBase::kMaxRows,
    .pack_rows = PackRowBlocks<XLayout::kF32ofBf16, MicroBase::kMaxRows>,
    .panels = RunPanels<MicroBf16>,
};

}  // namespace tessera::cpu::avx512
