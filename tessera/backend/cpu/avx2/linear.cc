// Linear kernels for AVX2 and FMA: a panel is two registers.
#include <immintrin.h>

#include "tessera/backend/cpu/linear_loops.h"

namespace tessera::cpu::avx2 {
namespace {

// 6 rows x 1 panel are 12 accumulators; with two weight registers and a broadcast, 15 of 16
// registers are live.
struct MicroBase {
  static constexpr int kMaxRows = 6;
  static constexpr int kSuperBlocks = 8;  // 2, 3, 4 and 8 are equal on Zen4
  static constexpr int kMaxPanels = 1;
  static constexpr int kXBytes = 4;

  template <int R>
  static void Load(const BlockArgs& a, __m256 (&acc)[R][2]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        acc[r][h] = a.first ? _mm256_setzero_ps() : _mm256_load_ps(a.acc + (r * 2 + h) * 8);
      }
    }
  }
  template <int R>
  static void MultiplyAdd(const float* x, __m256 low, __m256 high, __m256 (&acc)[R][2]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m256 value = _mm256_broadcast_ss(x + r);
      acc[r][0] = _mm256_fmadd_ps(value, low, acc[r][0]);
      acc[r][1] = _mm256_fmadd_ps(value, high, acc[r][1]);
    }
  }
  template <int R>
  static void Store(const BlockArgs& a, const __m256 (&acc)[R][2]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) _mm256_store_ps(a.acc + (r * 2 + h) * 8, acc[r][h]);
    }
  }
};

struct MicroF32 : MicroBase {
  static constexpr int kWBytes = 4;
  template <int R, int P>
  static void Block(const BlockArgs& a) {
    __m256 acc[R][2];
    Load(a, acc);
    const float* x = static_cast<const float*>(a.x);
    const float* w = reinterpret_cast<const float*>(a.w);
    for (int64_t k = 0; k < a.inputs; k += kPrefetchInputs) {
      PrefetchRound(a, P, k / kPrefetchInputs);
#pragma GCC unroll 1
      for (int64_t i = 0; i < kPrefetchInputs; ++i) {
        MultiplyAdd(x, _mm256_loadu_ps(w), _mm256_loadu_ps(w + 8), acc);
        w += 16;
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
    __m256 acc[R][2];
    Load(a, acc);
    const float* x = static_cast<const float*>(a.x);
    const __m256i* w = reinterpret_cast<const __m256i*>(a.w);
    for (int64_t k = 0; k < a.inputs; k += kPrefetchInputs) {
      PrefetchRound(a, P, k / kPrefetchInputs);
#pragma GCC unroll 1
      for (int64_t i = 0; i < kPrefetchInputs; i += 2) {
        MultiplyAdd(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(w), 16)),
                    _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(w + 1), 16)), acc);
        // Registers are what is scarce: the weights are loaded twice, and cleared by two shifts
        // rather than a mask, which would be the 17th register (spilling: 1.4x slower on Zen4).
        MultiplyAdd(x + R,
                    _mm256_castsi256_ps(
                        _mm256_slli_epi32(_mm256_srli_epi32(_mm256_loadu_si256(w), 16), 16)),
                    _mm256_castsi256_ps(
                        _mm256_slli_epi32(_mm256_srli_epi32(_mm256_loadu_si256(w + 1), 16), 16)),
                    acc);
        w += 2;
        x += 2 * R;
      }
    }
    Store(a, acc);
  }
};

}  // namespace

const LinearKernel kLinearF32 = {
    .isa = "avx2",
    .x_bytes = 4,
    .row_multiple = 1,
    .max_block_rows = MicroBase::kMaxRows,
    .pack_rows = PackRowBlocks<XLayout::kF32, MicroBase::kMaxRows>,
    .panels = RunPanels<MicroF32>,
};
const LinearKernel kLinearBf16 = {
    .isa = "avx2",
    .x_bytes = 4,
    .row_multiple = 1,
    .max_block_rows = MicroBase::kMaxRows,
    .pack_rows = PackRowBlocks<XLayout::kF32ofBf16, MicroBase::kMaxRows>,
    .panels = RunPanels<MicroBf16>,
};

}  // namespace tessera::cpu::avx2
