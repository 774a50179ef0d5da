// Portable linear kernels: plain loops the compiler may vectorise for its baseline.
#include "tessera/backend/cpu/linear_loops.h"

namespace tessera::cpu::generic {
namespace {

// 4 rows x 16 outputs are 16 of SSE2's registers' worth of accumulators; measured best of 2, 4, 6.
struct MicroBase {
  static constexpr int kMaxRows = 4;
  static constexpr int kSuperBlocks = 8;
  static constexpr int kMaxPanels = 1;
  static constexpr int kXBytes = 4;

  template <int R>
  static void Load(const BlockArgs& a, float (&acc)[R][16]) {
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 16; ++i) acc[r][i] = a.first ? 0.0f : a.acc[r * 16 + i];
    }
  }
  template <int R>
  static void MultiplyAdd(const float* x, const float* w, float (&acc)[R][16]) {
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 16; ++i) acc[r][i] += x[r] * w[i];
    }
  }
  template <int R>
  static void Store(const BlockArgs& a, const float (&acc)[R][16]) {
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 16; ++i) a.acc[r * 16 + i] = acc[r][i];
    }
  }
};

struct MicroF32 : MicroBase {
  static constexpr int kWBytes = 4;
  template <int R, int P>
  static void Block(const BlockArgs& a) {
    float acc[R][16];
    Load(a, acc);
    const float* x = static_cast<const float*>(a.x);
    for (int64_t k = 0; k < a.inputs; ++k) {
      float w[16];
      __builtin_memcpy(w, a.w + k * 64, sizeof(w));
      MultiplyAdd(x + k * R, w, acc);
    }
    Store(a, acc);
  }
};

struct MicroBf16 : MicroBase {
  static constexpr int kWBytes = 2;
  template <int R, int P>
  static void Block(const BlockArgs& a) {
    float acc[R][16];
    Load(a, acc);
    const float* x = static_cast<const float*>(a.x);
    for (int64_t k = 0; k < a.inputs; k += 2) {
      uint16_t pairs[16][2];
      __builtin_memcpy(pairs, a.w + k * 32, sizeof(pairs));
      float even[16], odd[16];
      for (int i = 0; i < 16; ++i) {
        even[i] = FloatOf(static_cast<uint32_t>(pairs[i][0]) << 16);
        odd[i] = FloatOf(static_cast<uint32_t>(pairs[i][1]) << 16);
      }
      MultiplyAdd(x + k * R, even, acc);
      MultiplyAdd(x + (k + 1) * R, odd, acc);
    }
    Store(a, acc);
  }
};

}  // namespace

const LinearKernel kLinearF32 = {
    .isa = "generic",
    .x_bytes = 4,
    .row_multiple = 1,
    .max_block_rows = MicroBase::kMaxRows,
    .pack_rows = PackRowBlocks<XLayout::kF32, MicroBase::kMaxRows>,
    .panels = RunPanels<MicroF32>,
};
const LinearKernel kLinearBf16 = {
    .isa = "generic",
    .x_bytes = 4,
    .row_multiple = 1,
    .max_block_rows = MicroBase::kMaxRows,
    .pack_rows = PackRowBlocks<XLayout::kF32ofBf16, MicroBase::kMaxRows>,
    .panels = RunPanels<MicroBf16>,
};

}  // namespace tessera::cpu::generic
