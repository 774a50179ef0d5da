// Attention of bf16 K/V by tensor cores: mma.sync m16n8k16, 16 rows per warp.
//
// A block takes rows of one group and the query heads of one kv head, folded into rows, and reads
// splits of keys into shared memory. A split has its own maximum, sum and output, which are merged
// in order: by the same block, or, when splits are spread over blocks to fill the GPU, by the last
// of them that arrives. Both do the same arithmetic. Blocks of few rows have kParts warps for the
// same rows: each computes all scores (cheaper than to exchange them) and its part of the outputs.
//
// Products sum over inputs in any order on which both operands agree, so that each lane reads 16
// consecutive bytes. Lane 4g + t of a warp holds:
//   Q KT  dimensions 32c + 8t .. + 7 of key row g, for two steps of 16 inputs; likewise of Q
//   P V   keys 32b + 8t .. + 7 of dimension g, for two steps
// Column n of the product (b, j, h) is key 32b + 8 (n / 2) + 4j + 2h + n % 2, so that the scores of
// a lane are the keys of its operand of P V.
#pragma once

#include "tessera/backend/cuda/attention_keys.cuh"
#include "tessera/backend/cuda/attention_softmax.cuh"

namespace tessera::cuda {

inline constexpr int32_t kWarpRows = 16;
inline constexpr int32_t kKeyBlocks = kAttentionSplit / 32;
inline constexpr int32_t kKeyTiles = kAttentionSplit / 8;  // of 8 columns

// How a launch divides the work; the grid is [splits, kv_heads * chunks, max_tiles].
struct TilePlan {
  int32_t tiles = 1;               // consecutive ones of a group that share a block
  int32_t min_rows = 0, max_rows;  // of the groups that it is for
  int32_t chunks = 1;              // blocks for the folded rows of `tiles` tiles
  int32_t splits = 1;              // blocks per chunk; those of a group may be fewer
  int32_t block_rows = 0;          // folded rows of a block
};

// Partial results of a block: [splits][block_rows] x kDim outputs, then the same of (max, sum).
template <int kDim>
TESSERA_HD constexpr int64_t PartialFloats(const TilePlan& plan) {
  return int64_t{plan.splits} * plan.block_rows * (kDim + 2);
}

template <int kDim, int kRows>
struct TileShared {
  uint4 k[kAttentionSplit * kDim / 8];
  uint4 v[kAttentionSplit * kDim / 8];
  uint4 q[kRows * kDim / 8];
  SplitUnits units[2];
  DeviceGroup group;
  int32_t visible_end;
  bool last;
};

// Place of 16-byte piece `piece` of a row: neighbouring rows, of which a quarter warp reads 4
// pieces each, differ in their banks.
__device__ __forceinline__ int32_t Swizzle(int32_t row, int32_t piece, int32_t pieces) {
  return row * pieces + (piece ^ (row % 2 * 4));
}

__device__ __forceinline__ void CopyAsync(uint4* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// All groups but the latest are complete.
__device__ __forceinline__ void WaitCopies() {
  asm volatile("cp.async.wait_group 1;" ::: "memory");
}

__device__ __forceinline__ void Mma(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                    uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

template <int kDim, int kRows, int kThreads>
__device__ __forceinline__ void LoadQueries(const AttentionLaunch& args, const BlockRows& rows,
                                            uint4* q) {
  constexpr int32_t kPieces = kDim / 8;
  const int64_t stride = int64_t{args.heads + 2 * args.kv.format.kv_heads} * kDim;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kRows * kPieces; i += kThreads) {
    const int32_t row = i / kPieces, piece = i % kPieces;
    uint4 bits = {};
    if (row < rows.count) {
      const auto* from = reinterpret_cast<const float4*>(
          args.qkv + rows.Row(row) * stride + int64_t{rows.Head(row)} * kDim + piece * 8);
      const float4 low = from[0], high = from[1];
      bits = {PackPair(low.x, low.y), PackPair(low.z, low.w), PackPair(high.x, high.y),
              PackPair(high.z, high.w)};
    }
    q[Swizzle(row, piece, kPieces)] = bits;
  }
}

template <int kDim, int kThreads>
__device__ __forceinline__ void LoadKeys(const BF16* keys, const SplitUnits& units, uint4* k) {
  constexpr int32_t kPieces = kDim / 8;
#pragma unroll 4
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kAttentionSplit * kPieces;
       i += kThreads) {
    const int32_t key = i / kPieces, piece = i % kPieces;
    const int64_t at = units.k_at[key / kUnitKeys];
    const BF16* from = at < 0 ? keys : keys + at + key % kUnitKeys * kDim + piece * 8;
    CopyAsync(k + Swizzle(key, piece, kPieces), from, at >= 0);
  }
}

template <int kDim, int kThreads>
__device__ __forceinline__ void LoadValues(const BF16* values, const SplitUnits& units, uint4* v) {
#pragma unroll 4
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kDim * kSplitUnits; i += kThreads) {
    const int32_t d = i / kSplitUnits, unit = i % kSplitUnits;
    const int64_t at = units.v_at[unit];
    const BF16* from = at < 0 ? values : values + at + d * ops::kPageRows;
    CopyAsync(v + Swizzle(d, unit, kSplitUnits), from, at >= 0);
  }
}

// Zeros where nobody looks: such values may be NaN, which a weight of 0 does not hide.
template <int kDim, int kThreads>
__device__ __forceinline__ void ClearHiddenValues(const SplitUnits& units, uint4* v) {
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kDim * kSplitUnits; i += kThreads) {
    const int32_t d = i / kSplitUnits, unit = i % kSplitUnits;
    const uint32_t visible = units.visible[unit];
    if (visible == 0xff) continue;
    uint4* at = v + Swizzle(d, unit, kSplitUnits);
    const auto keep = [&](int32_t key) {
      return (visible >> key & 1 ? 0xffffu : 0u) | (visible >> (key + 1) & 1 ? 0xffff0000u : 0u);
    };
    const uint4 old = *at;
    *at = {old.x & keep(0), old.y & keep(2), old.z & keep(4), old.w & keep(6)};
  }
}

template <int kDim, int kWarps, int kParts>
__global__ void __launch_bounds__(kWarps * 32, kWarps == 4 ? 3 : 1)
    TileAttentionKernel(const __grid_constant__ AttentionLaunch args,
                        const __grid_constant__ TilePlan plan, int32_t* counters, float* partials) {
  constexpr int32_t kThreads = kWarps * 32, kPieces = kDim / 8;
  constexpr int32_t kRows = kWarps / kParts * kWarpRows;
  constexpr int32_t kOutTiles = kDim / 8 / kParts;  // of 8 dimensions, per warp
  extern __shared__ __align__(16) char shared_bytes[];
  auto& shared = *reinterpret_cast<TileShared<kDim, kRows>*>(shared_bytes);
  const DeviceStep& step = args.step;
  const ops::KvFormat& format = args.kv.format;
  const int32_t thread = static_cast<int32_t>(threadIdx.x), warp = thread / 32;
  const int32_t g = thread % 32 / 4, t = thread % 4;
  const int32_t warp_row = warp / kParts * kWarpRows, first_tile = warp % kParts * kOutTiles;

  // --- What to do.
  if (static_cast<int32_t>(blockIdx.z) >= step.counts[2]) return;
  const DeviceTile tile = step.tiles[blockIdx.z];
  if (thread == 0) {
    shared.group = step.groups[tile.group];
    shared.visible_end = 0;
  }
  __syncthreads();
  const DeviceGroup& group = shared.group;
  const int32_t group_rows = group.row_end - group.row_begin;
  if (group_rows < plan.min_rows || group_rows > plan.max_rows) return;
  if ((tile.row_begin - group.row_begin) / kAttentionRows % plan.tiles != 0) return;
  const int32_t kv_head = static_cast<int32_t>(blockIdx.y) / plan.chunks;
  const int32_t row_end = min(group.row_end, tile.row_begin + plan.tiles * kAttentionRows);
  BlockRows rows;
  rows.row_begin = tile.row_begin;
  rows.heads_per_kv = args.heads / format.kv_heads;
  rows.first_head = kv_head * rows.heads_per_kv;
  rows.first = static_cast<int32_t>(blockIdx.y) % plan.chunks * kRows;
  rows.count = min((row_end - tile.row_begin) * rows.heads_per_kv - rows.first, kRows);
  if (rows.count <= 0) return;

  if (thread < rows.count) {
    atomicMax(&shared.visible_end, VisibleEnd(group, step.slots[rows.Row(thread)]));
  }
  __syncthreads();
  const int32_t visible_end = shared.visible_end;
  const int32_t num_splits = (CountListedUnits(step, group, visible_end) +
                              CountFreshUnits(step, group) + kSplitUnits - 1) /
                             kSplitUnits;
  // Lists in small pieces may have more splits than a block of the grid each.
  const bool spread = num_splits > 1 && num_splits <= plan.splits;
  int32_t split = static_cast<int32_t>(blockIdx.x);
  if (spread ? split >= num_splits : split > 0) return;
  const int32_t split_end = spread ? split + 1 : num_splits;

  // --- The first loads.
  const auto* keys = static_cast<const BF16*>(args.kv.k);
  const auto* values = static_cast<const BF16*>(args.kv.v);
  const auto fill_units = [&](int32_t of) {  // by the last warp
    SplitUnits* units = &shared.units[of % 2];
    const int32_t i = thread % 32;
    bool cut = false;
    if (i < kSplitUnits) {
      FillUnit(step, group, format, kv_head, visible_end, of, i, units);
      cut = units->k_at[i] >= 0 && units->visible[i] != 0xff;
    }
    const bool any_cut = __any_sync(0xffffffff, cut) != 0;
    if (i == 0) units->any_cut = any_cut;
  };
  if (split < split_end) {
    if (warp == kWarps - 1) fill_units(split);
    __syncthreads();
    LoadKeys<kDim, kThreads>(keys, shared.units[split % 2], shared.k);
    CommitCopies();
    LoadValues<kDim, kThreads>(values, shared.units[split % 2], shared.v);
    CommitCopies();
  }
  LoadQueries<kDim, kRows, kThreads>(args, rows, shared.q);

  const bool busy = warp_row < rows.count;
  // Rows g and g + 8 of the warp; those beyond the block's see what the first row sees.
  int32_t group_row[2], row_visible_end[2];
#pragma unroll
  for (int32_t r = 0; r < 2; ++r) {
    const int32_t i = warp_row + g + 8 * r;
    const int32_t row = rows.Row(i < rows.count ? i : 0);
    group_row[r] = row - group.row_begin;
    row_visible_end[r] = VisibleEnd(group, step.slots[row]);
  }
  const int32_t lane_key = g / 2 * 8 + g % 2;
  const uint4* v_lane = shared.v + first_tile * 8 * kSplitUnits;
  const float scale = args.scale * 1.4426950408889634f;  // of powers of 2
  RowState state[2];
  float out[kOutTiles][4] = {};
  float split_most[2] = {-INFINITY, -INFINITY}, split_total[2] = {};

  for (; split < split_end; ++split) {
    const SplitUnits& units = shared.units[split % 2];
    const SplitUnits& next_units = shared.units[(split + 1) % 2];
    const bool has_next = split + 1 < split_end;
    if (has_next && warp == kWarps - 1) fill_units(split + 1);
    WaitCopies();
    __syncthreads();  // K, the next units and (at first) Q are there

    float score[kKeyTiles][4] = {};
    if (busy) {
#pragma unroll
      for (int32_t c = 0; c < kDim / 32; ++c) {
        const uint4 q0 = shared.q[Swizzle(warp_row + g, 4 * c + t, kPieces)];
        const uint4 q1 = shared.q[Swizzle(warp_row + g + 8, 4 * c + t, kPieces)];
#pragma unroll
        for (int32_t n = 0; n < kKeyTiles; ++n) {
          const int32_t key = n / 4 * 32 + n / 2 % 2 * 4 + n % 2 * 2;  // even, beside lane_key
          const uint4 k = shared.k[key * kPieces + Swizzle(lane_key, 4 * c + t, kPieces)];
          Mma(score[n], q0.x, q1.x, q0.y, q1.y, k.x, k.y);
          Mma(score[n], q0.z, q1.z, q0.w, q1.w, k.z, k.w);
        }
      }
    }
    __syncthreads();  // K is used up
    if (has_next) LoadKeys<kDim, kThreads>(keys, next_units, shared.k);
    CommitCopies();

    uint32_t weight[kKeyTiles][2];
    if (busy) {
#pragma unroll
      for (int32_t n = 0; n < kKeyTiles; ++n) {
#pragma unroll
        for (int32_t i = 0; i < 4; ++i) score[n][i] *= scale;
      }
#pragma unroll
      for (int32_t r = 0; r < 2; ++r) {
#pragma unroll
        for (int32_t b = 0; b < kKeyBlocks; ++b) {
          const uint32_t visible =
              VisibleKeys(step, group, units, 4 * b + t, group_row[r], row_visible_end[r]);
          if (visible != 0xff) {
#pragma unroll
            for (int32_t key = 0; key < kUnitKeys; ++key) {
              float& value = score[4 * b + key / 2][2 * r + key % 2];
              value = visible >> key & 1 ? value : -INFINITY;
            }
          }
        }
        float most = -INFINITY;
#pragma unroll
        for (int32_t n = 0; n < kKeyTiles; ++n) {
          most = fmaxf(most, fmaxf(score[n][2 * r], score[n][2 * r + 1]));
        }
        most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 1));
        most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 2));
        const float base = most == -INFINITY ? 0.f : most;
        float total = 0;
#pragma unroll
        for (int32_t n = 0; n < kKeyTiles; ++n) {
          const float even = Exp2(score[n][2 * r] - base), odd = Exp2(score[n][2 * r + 1] - base);
          total += even;
          total += odd;
          weight[n][r] = PackPair(even, odd);
        }
        total += __shfl_xor_sync(0xffffffff, total, 1);
        total += __shfl_xor_sync(0xffffffff, total, 2);
        split_most[r] = most;
        split_total[r] = total;
      }
    }
    WaitCopies();
    __syncthreads();  // V is there
    if (units.any_cut) {
      ClearHiddenValues<kDim, kThreads>(units, shared.v);
      __syncthreads();
    }
    if (busy) {
      float keep[2] = {}, take[2] = {1.f, 1.f};  // spread: the outputs of the split alone
      if (!spread) {
        state[0].Add(split_most[0], split_total[0], &keep[0], &take[0]);
        state[1].Add(split_most[1], split_total[1], &keep[1], &take[1]);
      }
      constexpr int32_t kTogether = 4;  // products whose sums do not wait for each other
#pragma unroll
      for (int32_t n = 0; n < kOutTiles; n += kTogether) {
        float sum[kTogether][4] = {};
#pragma unroll
        for (int32_t b = 0; b < kKeyBlocks; ++b) {
#pragma unroll
          for (int32_t i = 0; i < kTogether; ++i) {
            const uint4 v = v_lane[(n + i) * 8 * kSplitUnits + Swizzle(g, 4 * b + t, kSplitUnits)];
            Mma(sum[i], weight[4 * b][0], weight[4 * b][1], weight[4 * b + 1][0],
                weight[4 * b + 1][1], v.x, v.y);
            Mma(sum[i], weight[4 * b + 2][0], weight[4 * b + 2][1], weight[4 * b + 3][0],
                weight[4 * b + 3][1], v.z, v.w);
          }
        }
#pragma unroll
        for (int32_t i = 0; i < kTogether; ++i) {
#pragma unroll
          for (int32_t e = 0; e < 4; ++e) {
            out[n + i][e] = RowState::Blend(out[n + i][e], sum[i][e], keep[e / 2], take[e / 2]);
          }
        }
      }
    }
    __syncthreads();  // V is used up
    if (has_next) LoadValues<kDim, kThreads>(values, next_units, shared.v);
    CommitCopies();
  }

  const bool pads = kv_head == format.kv_heads - 1;
  if (!spread) {
#pragma unroll
    for (int32_t r = 0; r < 2; ++r) {
      const int32_t i = warp_row + g + 8 * r;
      if (i >= rows.count) continue;
      const float factor = state[r].Factor();
      const int64_t at = int64_t{rows.Head(i)} * kDim + 8 * first_tile + 2 * t;
#pragma unroll
      for (int32_t n = 0; n < kOutTiles; ++n) {
        StoreAttention(args, rows.Row(i), at + 8 * n, out[n][2 * r] * factor,
                       out[n][2 * r + 1] * factor);
      }
      if (pads && t == 0 && first_tile == 0 && rows.Head(i) == args.heads - 1)
        StorePadding(args, rows.Row(i));
    }
    return;
  }

  // --- Splits in different blocks: the last one to arrive merges them.
  const int64_t block = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  float* outputs = partials + block * PartialFloats<kDim>(plan);
  auto* states = reinterpret_cast<float2*>(outputs + int64_t{plan.splits} * plan.block_rows * kDim);
  const int32_t own = static_cast<int32_t>(blockIdx.x);
#pragma unroll
  for (int32_t r = 0; r < 2; ++r) {
    const int32_t i = warp_row + g + 8 * r;
    if (i >= rows.count) continue;
    const int64_t at = int64_t{own} * plan.block_rows + i;
    if (t == 0 && first_tile == 0) __stcg(states + at, make_float2(split_most[r], split_total[r]));
#pragma unroll
    for (int32_t n = 0; n < kOutTiles; ++n) {
      __stcg(reinterpret_cast<float2*>(outputs + at * kDim + 8 * (first_tile + n) + 2 * t),
             make_float2(out[n][2 * r], out[n][2 * r + 1]));
    }
  }
  __threadfence();
  __syncthreads();
  if (thread == 0) {
    shared.last = atomicAdd(counters + block, 1) == num_splits - 1;
    if (shared.last) counters[block] = 0;  // for the next launch
  }
  __syncthreads();
  if (!shared.last) return;
  __threadfence();
  constexpr int32_t kQuads = kDim / 4;
  for (int32_t item = thread; item < rows.count * kQuads; item += kThreads) {
    const int32_t i = item / kQuads, d = item % kQuads * 4;
    RowState merged;
    float4 sum = {};
#pragma unroll 8
    for (int32_t s = 0; s < num_splits; ++s) {
      const int64_t at = int64_t{s} * plan.block_rows + i;
      const float2 part = __ldcg(states + at);
      const float4 added = __ldcg(reinterpret_cast<const float4*>(outputs + at * kDim + d));
      float keep, take;
      merged.Add(part.x, part.y, &keep, &take);
      sum.x = RowState::Blend(sum.x, added.x, keep, take);
      sum.y = RowState::Blend(sum.y, added.y, keep, take);
      sum.z = RowState::Blend(sum.z, added.z, keep, take);
      sum.w = RowState::Blend(sum.w, added.w, keep, take);
    }
    const float factor = merged.Factor();
    const int64_t k = int64_t{rows.Head(i)} * kDim + d;
    StoreAttention(args, rows.Row(i), k, sum.x * factor, sum.y * factor);
    StoreAttention(args, rows.Row(i), k + 2, sum.z * factor, sum.w * factor);
    if (pads && d == 0 && rows.Head(i) == args.heads - 1) StorePadding(args, rows.Row(i));
  }
}

}  // namespace tessera::cuda
