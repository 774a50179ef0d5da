// Attention for any head size and type of K/V, in f32: a block per row and head.
#pragma once

#include "tessera/backend/cuda/attention_rows.cuh"
#include "tessera/backend/cuda/sums.cuh"

namespace tessera::cuda {

inline constexpr int kPlainThreads = 128;  // also the keys taken at a time
inline constexpr int kPlainMaxDim = 256;

__device__ __forceinline__ float ToFloat(float value) { return value; }
__device__ __forceinline__ float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }

// The largest value of the block, in each thread.
__device__ __forceinline__ float PlainBlockMax(float value) {
  __shared__ float most[kPlainThreads / 32];
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, mask));
  }
  if (threadIdx.x % 32 == 0) most[threadIdx.x / 32] = value;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kPlainThreads / 32; ++i) value = fmaxf(value, most[i]);
  return value;
}

// Slot of the index-th key that a row sees, -1 when there are fewer.
__device__ inline int32_t VisibleSlot(const DeviceStep& step, const DeviceGroup& group, int32_t row,
                                      int32_t visible_end, int32_t index) {
  for (int32_t i = 0; i < group.range_count; ++i) {
    const ops::SlotRange range = step.ranges[group.range_begin + i];
    const int32_t count = max(min(range.end, visible_end) - range.begin, 0);
    if (index < count) return range.begin + index;
    index -= count;
  }
  if (!HasFreshKeys(group)) return -1;
  for (int32_t fresh = 0; fresh < group.row_end - group.row_begin; ++fresh) {
    if (!FreshVisible(step, group, row - group.row_begin, fresh)) continue;
    const int32_t slot = step.slots[group.row_begin + fresh];
    if (!Listed(step, group, slot) && index-- == 0) return slot;
  }
  return -1;
}

// Online softmax over the keys that a row sees, kPlainThreads at a time: what the others of its
// group see, and where ranges are cut, changes no bit.
template <typename T>
__global__ void __launch_bounds__(kPlainThreads)
    PlainAttentionKernel(const __grid_constant__ AttentionLaunch args) {
  __shared__ float q[kPlainMaxDim];
  __shared__ float weights[kPlainThreads];
  __shared__ int64_t heads_of[kPlainThreads];  // the key's page and head in elements
  __shared__ int32_t rows_of[kPlainThreads];   // its row in the page
  const DeviceStep& step = args.step;
  const int32_t row = static_cast<int32_t>(blockIdx.x), head = static_cast<int32_t>(blockIdx.y);
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  if (row >= step.counts[0]) return;
  const int32_t dim = args.kv.format.head_dim, kv_heads = args.kv.format.kv_heads;
  const int32_t kv_head = head / (args.heads / kv_heads);
  const DeviceGroup group = step.groups[step.row_group[row]];
  const int32_t visible_end = VisibleEnd(group, step.slots[row]);
  const T* keys = static_cast<const T*>(args.kv.k);
  const T* values = static_cast<const T*>(args.kv.v);
  const float* from =
      args.qkv + int64_t{row} * (args.heads + 2 * kv_heads) * dim + int64_t{head} * dim;
  for (int32_t d = thread; d < dim; d += kPlainThreads) q[d] = from[d] * args.scale;

  float most = -INFINITY, total = 0, out[kPlainMaxDim / kPlainThreads] = {};
  // Takes in one key per thread; slot -1: none. Called by all threads.
  const auto add_keys = [&](int32_t slot) {
    __syncthreads();  // the chunk before is used up, and q is written
    float score = -INFINITY;
    if (slot >= 0) {
      const int64_t page = step.pages[group.page_begin + slot / ops::kPageRows];
      heads_of[thread] = (page * kv_heads + kv_head) * ops::kPageRows * dim;
      rows_of[thread] = slot % ops::kPageRows;
      const T* key = keys + heads_of[thread] + int64_t{rows_of[thread]} * dim;
      score = 0;
      for (int32_t d = 0; d < dim; ++d) score = fmaf(q[d], ToFloat(key[d]), score);
    }
    const float next = fmaxf(most, PlainBlockMax(score));
    if (next == -INFINITY) return;  // all threads alike
    const float weight = slot >= 0 ? expf(score - next) : 0.f;
    const float rescale = expf(most - next);
    weights[thread] = weight;
    total = fmaf(total, rescale, BlockSum<kPlainThreads>(weight));  // and weights are visible
    most = next;
#pragma unroll
    for (int32_t i = 0; i < kPlainMaxDim / kPlainThreads; ++i) {
      const int32_t d = i * kPlainThreads + thread;
      if (d >= dim) break;
      float sum = 0;
      for (int32_t j = 0; j < kPlainThreads; ++j) {
        // Values of keys without weight may be NaN.
        if (weights[j] == 0) continue;
        sum = fmaf(weights[j],
                   ToFloat(values[heads_of[j] + int64_t{d} * ops::kPageRows + rows_of[j]]), sum);
      }
      out[i] = fmaf(out[i], rescale, sum);
    }
  };
  for (int32_t begin = 0;; begin += kPlainThreads) {
    const int32_t slot = VisibleSlot(step, group, row, visible_end, begin + thread);
    if (!__syncthreads_or(slot >= 0)) break;
    add_keys(slot);
  }
  const float scale = total > 0 ? 1.f / total : total == 0 ? 0.f : total;  // NaN stays
#pragma unroll
  for (int32_t i = 0; i < kPlainMaxDim / kPlainThreads; ++i) {
    const int32_t d = i * kPlainThreads + thread;
    const float value = out[i] * scale;
    const float next = __shfl_down_sync(0xffffffff, value, 1);
    if (thread % 2 == 0 && d < dim) {
      StoreAttention(args, row, int64_t{head} * dim + d, value, next);
    }
  }
  if (head == args.heads - 1 && thread == 0) StorePadding(args, row);
}

}  // namespace tessera::cuda
