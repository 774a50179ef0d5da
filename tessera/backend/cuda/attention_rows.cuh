// What the attention kernels share: which slots a row sees, and where its result goes.
#pragma once

#include <climits>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {

// Slots at or past the result are hidden from a row in slot `slot`.
__device__ __forceinline__ int32_t VisibleEnd(const DeviceGroup& group, int32_t slot) {
  switch (static_cast<ops::MaskRule>(group.rule)) {
    case ops::MaskRule::kCausal: return slot + 1;
    case ops::MaskRule::kBlockCausal: return (slot / group.block + 1) * group.block;
    default: return INT_MAX;
  }
}

// The same for row `row` of the step.
__device__ __forceinline__ int32_t VisibleEndOf(const DeviceStep& step, const DeviceGroup& group,
                                                int32_t row) {
  const auto rule = static_cast<ops::MaskRule>(group.rule);
  const bool by_slot = rule == ops::MaskRule::kCausal || rule == ops::MaskRule::kBlockCausal;
  return by_slot ? VisibleEnd(group, step.slots[row]) : INT_MAX;
}

__device__ __forceinline__ bool HasFreshKeys(const DeviceGroup& group) {
  return static_cast<ops::MaskRule>(group.rule) == ops::MaskRule::kBits;
}

// kBits: whether row `row` of the group sees the fresh row `fresh` of the group.
__device__ __forceinline__ bool FreshVisible(const DeviceStep& step, const DeviceGroup& group,
                                             int32_t row, int32_t fresh) {
  const int32_t words = (group.row_end - group.row_begin + 63) / 64;
  const uint64_t word = step.bits[group.bits_begin + int64_t{row} * words + fresh / 64];
  return (word >> (fresh % 64) & 1) != 0;
}

__device__ __forceinline__ bool Listed(const DeviceStep& step, const DeviceGroup& group,
                                       int32_t slot) {
  for (int32_t i = 0; i < group.range_count; ++i) {
    const ops::SlotRange range = step.ranges[group.range_begin + i];
    if (range.begin <= slot && slot < range.end) return true;
  }
  return false;
}

// The rows of a block: query heads of one kv head, folded into rows.
struct BlockRows {
  int32_t row_begin, heads_per_kv, first_head, first, count;  // first, count: folded

  // Row and head of folded row `i` of the block.
  __device__ __forceinline__ int32_t Row(int32_t i) const {
    return row_begin + (first + i) / heads_per_kv;
  }
  __device__ __forceinline__ int32_t Head(int32_t i) const {
    return first_head + (first + i) % heads_per_kv;
  }
};

// A row of the result from element `k` on.
class OutputRow {
 public:
  __device__ __forceinline__ OutputRow(const AttentionLaunch& args, int64_t row, int64_t k) {
    const int64_t width = int64_t{args.heads} * args.kv.format.head_dim;
    const int32_t padded_rows = args.step.padded_rows;
    out_ = args.out == nullptr ? nullptr : args.out + row * width + k;
    packed_ = args.packed == nullptr ? nullptr
                                     : args.packed + ActivationIndex(row, k, padded_rows, width);
    // Chunks of a tile follow each other as their blocks of 8 inputs do.
    stride_ = min(padded_rows, static_cast<int32_t>(kRowTile)) * 8;
  }
  // pair(i) becomes elements k + 8 i and the next; k is even.
  template <int kCount, typename Pair>
  __device__ __forceinline__ void Store(Pair&& pair) const {
    if (packed_ != nullptr) {
      BF16* to = packed_;
#pragma unroll
      for (int i = 0; i < kCount; ++i, to += stride_) {
        const float2 value = pair(i);
        *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(value.x, value.y);
      }
    }
    if (out_ != nullptr) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) *reinterpret_cast<float2*>(out_ + 8 * i) = pair(i);
    }
  }

 private:
  float* out_;
  BF16* packed_;
  int32_t stride_;
};

// Elements k and k + 1 of a row of the result; k and the width are even.
__device__ __forceinline__ void StoreAttention(const AttentionLaunch& args, int64_t row, int64_t k,
                                               float first, float second) {
  const int64_t width = int64_t{args.heads} * args.kv.format.head_dim;
  if (args.out != nullptr) {
    *reinterpret_cast<float2*>(args.out + row * width + k) = make_float2(first, second);
  }
  if (args.packed != nullptr) {
    *reinterpret_cast<__nv_bfloat162*>(args.packed +
                                       ActivationIndex(row, k, args.step.padded_rows, width)) =
        __floats2bfloat162_rn(first, second);
  }
}

// Zeros between the width of a packed row and its padding, by one thread.
__device__ __forceinline__ void StorePadding(const AttentionLaunch& args, int64_t row) {
  const int64_t width = int64_t{args.heads} * args.kv.format.head_dim;
  if (args.packed == nullptr) return;
#pragma unroll 1
  for (int64_t k = width; k < PaddedInputs(width); ++k) {
    args.packed[ActivationIndex(row, k, args.step.padded_rows, width)] = 0;
  }
}

}  // namespace tessera::cuda
