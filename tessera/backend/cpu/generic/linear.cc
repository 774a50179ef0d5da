// Portable linear kernels, in the compiler's 128-bit vectors, which every 64-bit target has.
#include "tessera/backend/cpu/linear_loops.h"

namespace tessera::cpu::generic {
namespace {

using Floats = float __attribute__((vector_size(16)));
using Bits = uint32_t __attribute__((vector_size(16)));

template <typename V>
V Load(const void* from) {
  V value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

// 2 rows x 1 panel are 8 accumulators; with the 4 weight registers and a broadcast, 13 of SSE2's 16
// registers are live. Separate arrays of floats are not kept in registers: 6x slower (GCC 12).
struct MicroBase {
  static constexpr int kMaxRows = 2;
  static constexpr int kMaxPanels = 1;
  static constexpr int kSuperBlocks = 16;
  static constexpr int kXBytes = 4;

  template <int R>
  static void LoadSums(const BlockArgs& a, Floats (&acc)[R][4]) {
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < 4; ++v) {
        acc[r][v] = a.first ? Floats{} : Load<Floats>(a.acc + r * 16 + v * 4);
      }
    }
  }
  template <int R>
  static void MultiplyAdd(const float* x, const Floats (&w)[4], Floats (&acc)[R][4]) {
    for (int r = 0; r < R; ++r) {
      const Floats value = {x[r], x[r], x[r], x[r]};
      for (int v = 0; v < 4; ++v) acc[r][v] += value * w[v];
    }
  }
  template <int R>
  static void StoreSums(const BlockArgs& a, const Floats (&acc)[R][4]) {
    __builtin_memcpy(a.acc, acc, sizeof(acc));
  }
};

struct MicroF32 : MicroBase {
  static constexpr int kWBytes = 4;
  template <int R, int P>
  static void Block(const BlockArgs& a) {
    Floats acc[R][4];
    LoadSums(a, acc);
    const float* x = static_cast<const float*>(a.x);
    for (int64_t k = 0; k < a.inputs; ++k) {
      Floats w[4];
      for (int v = 0; v < 4; ++v) w[v] = Load<Floats>(a.w + k * 64 + v * 16);
      MultiplyAdd(x + k * R, w, acc);
    }
    StoreSums(a, acc);
  }
};

// A vector is 4 outputs x 2 inputs: with the even input shifted up, and the odd one masked, each
// 32-bit element is the f32 of its bf16.
struct MicroBf16 : MicroBase {
  static constexpr int kWBytes = 2;
  template <int R, int P>
  static void Block(const BlockArgs& a) {
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
    Floats acc[R][4];
    LoadSums(a, acc);
    const float* x = static_cast<const float*>(a.x);
    for (int64_t k = 0; k < a.inputs; k += 2) {
      Floats w[4];
      for (int v = 0; v < 4; ++v) {
        w[v] = reinterpret_cast<Floats>(Load<Bits>(a.w + k * 32 + v * 16) << 16);
      }
      MultiplyAdd(x + k * R, w, acc);
      for (int v = 0; v < 4; ++v) {
        w[v] = reinterpret_cast<Floats>(Load<Bits>(a.w + k * 32 + v * 16) & 0xffff0000u);
      }
      MultiplyAdd(x + (k + 1) * R, w, acc);
    }
    StoreSums(a, acc);
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
