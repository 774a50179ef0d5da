// Attention of bf16 K/V on Hopper: the copy engine brings pages into a ring in shared memory,
// warpgroups of 64 rows multiply.
//
// A warp walks the splits and asks for their pages as far ahead as the ring allows. Each split has
// its own maximum, sum and output (attention_softmax.cuh), merged in the order of the splits: in
// registers, or, where few rows would leave the GPU idle, by a cluster of blocks that take turns at
// the splits and exchange their outputs through shared memory. Both do the same arithmetic.
//
// Lane 4g + t of warp w holds rows 16w + g and + 8 of the warpgroup, and of every 8 keys or
// dimensions 2t and 2t + 1 (wgmma.cuh), so that the weights of a row are where the next product
// reads them.
#pragma once

#include <cuda.h>

#include "tessera/backend/cuda/attention_pages.cuh"
#include "tessera/backend/cuda/attention_softmax.cuh"
#include "tessera/backend/cuda/pipeline.cuh"
#include "tessera/backend/cuda/wgmma.cuh"

namespace tessera::cuda {

inline constexpr int32_t kSpreadRows = 32;  // folded rows of a work that a cluster shares
inline constexpr int32_t kMaxCluster = 8;
inline constexpr int kSplitInfos = 8;

// What the multiplying warps must know of a split.
struct SplitInfo {
  static constexpr int32_t kOthers = -1;  // of a round in which only other blocks have splits
  static constexpr int32_t kEndOfWork = -2;
  int32_t split;
  bool read[kSplitPages], fresh[kSplitPages];  // pages that are there; that hold fresh keys
  uint64_t listed[kSplitPages];                // slots, a bit each
};

// kGroups warpgroups of 64 rows each. kSpread: a cluster shares a work.
template <int kDim, int kGroups, bool kSpread>
struct PageShared {
  static constexpr int kThreads = kGroups * 128 + 128;  // one more warpgroup copies
  // Registers of its threads and of those that multiply: what a launch gives them, shared anew.
  static constexpr int kCopyRegisters = 40;
  static constexpr int kRegisters = kGroups == 2 ? 232 : 216;
  static constexpr int kRows = kSpread ? kSpreadRows : kGroups * 64;
  static constexpr int kPageBytes = static_cast<int>(ops::kPageRows) * kDim * 2;  // of one head
  // Two blocks of one warpgroup fit on a multiprocessor, or one of two.
  static constexpr int kSlots = kGroups == 2 ? 12 : kSpread ? 5 : 7;
  static constexpr int kPartialFloats = kSpread ? kRows * kDim : 4;

  alignas(1024) unsigned char pages[kSlots][kPageBytes];
  alignas(
      16) float partials[2][kPartialFloats];  // outputs of the splits of this round and the next
  float2 states[2][kSpreadRows];              // their (maximum, sum)
  SplitInfo infos[kSplitInfos];
  uint64_t full[kSlots], empty[kSlots];
  uint64_t info_full[kSplitInfos], info_empty[kSplitInfos];
  uint64_t partials_full[2];
  uint64_t uncut;  // a page of V that is still to be cut
};

// Slot of a ring and the parity of its use.
template <int kCount>
struct PageRing {
  int slot = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void Next() {
    if (++slot == kCount) slot = 0, parity ^= 1;
  }
};

// --- Between the blocks of a cluster ---------------------------------------------------------

__device__ __forceinline__ void ClusterArrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void ClusterWait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ __forceinline__ uint32_t BlockRank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ uint32_t RemoteAddress(uint32_t address, uint32_t rank) {
  uint32_t remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
  return remote;
}
// Publishes what this thread has written or seen written to the block of `remote`.
__device__ __forceinline__ void ClusterArriveAt(uint32_t remote) {
  asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(remote)
               : "memory");
}
__device__ __forceinline__ void ClusterWaitAt(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
__device__ __forceinline__ float2 LoadRemote2(uint32_t remote) {
  float2 value;
  asm volatile("ld.shared::cluster.v2.f32 {%0, %1}, [%2];"
               : "=f"(value.x), "=f"(value.y)
               : "r"(remote)
               : "memory");
  return value;
}
__device__ __forceinline__ float4 LoadRemote4(uint32_t remote) {
  float4 value;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
               : "r"(remote)
               : "memory");
  return value;
}

// --- Copies ----------------------------------------------------------------------------------

__device__ __forceinline__ void TensorCopy(uint32_t to, const CUtensorMap& map, int32_t x,
                                           int32_t y, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(&map), "r"(x), "r"(y), "r"(barrier)
      : "memory");
}
__device__ __forceinline__ void PrefetchMap(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
// Between ordinary writes to shared memory and the tensor cores' reads.
__device__ __forceinline__ void SharedProxyFence() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Zeros where nobody looks, by a warp: such values may be NaN, which a weight of 0 does not hide.
template <int kDim>
__device__ __forceinline__ void CutValues(unsigned char* page, uint64_t valid) {
  for (int32_t i = static_cast<int32_t>(threadIdx.x % 32); i < kDim * 8; i += 32) {
    const int32_t d = i / 8, piece = i % 8;
    const auto keep = static_cast<uint32_t>(valid >> (8 * piece)) & 0xff;
    if (keep == 0xff) continue;
    auto* at = reinterpret_cast<uint4*>(page + d * 128 + (piece ^ d % 8) * 16);
    const auto bits = [&](int32_t key) {
      return (keep >> key & 1 ? 0xffffu : 0u) | (keep >> (key + 1) & 1 ? 0xffff0000u : 0u);
    };
    const uint4 old = *at;
    *at = {old.x & bits(0), old.y & bits(2), old.z & bits(4), old.w & bits(6)};
  }
}

// The pages of all works in their order, by a warp.
template <int kDim, int kGroups, bool kSpread>
__device__ __forceinline__ void StreamPages(const AttentionLaunch& args, const PagePlan& plan,
                                            const CUtensorMap& keys, const CUtensorMap& values,
                                            PageShared<kDim, kGroups, kSpread>& shared) {
  using Shared = PageShared<kDim, kGroups, kSpread>;
  const bool leads = threadIdx.x % 32 == 0;
  const int32_t own = kSpread ? static_cast<int32_t>(BlockRank()) : 0;
  const int32_t kv_heads = args.kv.format.kv_heads;
  PageRing<Shared::kSlots> ring;
  PageRing<kSplitInfos> info_ring;
  uint32_t cuts = 0;
  bool waited = false;
  const auto post = [&](const SplitInfo& info) {
    BarrierWait(SharedAddress(&shared.info_empty[info_ring.slot]), info_ring.parity ^ 1);
    if (leads) {
      shared.infos[info_ring.slot] = info;
      BarrierArrive(SharedAddress(&shared.info_full[info_ring.slot]));
    }
    info_ring.Next();
  };
  if (leads) {
    PrefetchMap(keys);
    PrefetchMap(values);
  }
  ForEachWork<Shared::kRows>(args, plan, [&](const PageWork& work) {
    SplitWalk walk(args.step, work);
    const auto load = [&](int32_t split) {
      SplitInfo info = {.split = split};
      uint64_t valid[kSplitPages];
      int32_t head[kSplitPages] = {};
#pragma unroll
      for (int32_t p = 0; p < kSplitPages; ++p) {
        const int32_t page = split * kSplitPages + p;
        const uint64_t fresh = walk.Fresh(page);
        info.listed[p] = walk.Listed(page);
        valid[p] = info.listed[p] | fresh;
        info.read[p] = valid[p] != 0;
        info.fresh[p] = fresh != 0;
        if (info.read[p]) head[p] = walk.PageNumber(page) * kv_heads + work.kv_head;
      }
      if (!waited) WaitForPredecessor();
      waited = true;
#pragma unroll
      for (int32_t p = 0; p < kSplitPages; ++p) {
        if (!info.read[p]) continue;
        const uint32_t full = SharedAddress(&shared.full[ring.slot]);
        const uint32_t to = SharedAddress(shared.pages[ring.slot]);
        BarrierWait(SharedAddress(&shared.empty[ring.slot]), ring.parity ^ 1);
        if (leads) {
          BarrierExpect(full, Shared::kPageBytes);
#pragma unroll
          for (int32_t d = 0; d < kDim; d += 64) {
            TensorCopy(to + d * 128, keys, d, head[p] * ops::kPageRows, full);
          }
        }
        ring.Next();
      }
      post(info);
#pragma unroll
      for (int32_t p = 0; p < kSplitPages; ++p) {
        if (!info.read[p]) continue;
        const uint32_t full = SharedAddress(&shared.full[ring.slot]);
        const uint32_t to = SharedAddress(shared.pages[ring.slot]);
        BarrierWait(SharedAddress(&shared.empty[ring.slot]), ring.parity ^ 1);
        const bool cut = valid[p] != ~uint64_t{0};
        if (leads) {
          const uint32_t barrier = cut ? SharedAddress(&shared.uncut) : full;
          BarrierExpect(barrier, Shared::kPageBytes);
          TensorCopy(to, values, 0, head[p] * kDim, barrier);
        }
        if (cut) {
          BarrierWait(SharedAddress(&shared.uncut), cuts++ % 2);
          CutValues<kDim>(shared.pages[ring.slot], valid[p]);
          SharedProxyFence();
          __syncwarp();
          if (leads) BarrierArrive(full);
        }
        ring.Next();
      }
    };
    for (int32_t split = walk.Next(-1); split != SplitWalk::kEnd;) {
      bool has_own = false;
      for (int32_t rank = 0; rank < plan.cluster && split != SplitWalk::kEnd; ++rank) {
        if (rank == own) load(split);
        has_own = has_own || rank == own;
        split = walk.Next(split);
      }
      if (!has_own) post({.split = SplitInfo::kOthers});
    }
    post({.split = SplitInfo::kEndOfWork});
  });
}

// --- Products --------------------------------------------------------------------------------

// Rows of 128 bytes, whose 16-byte pieces the copy engine has swizzled within blocks of 8 rows.
__device__ __forceinline__ uint64_t SwizzledMatrix(uint32_t address) {
  return static_cast<uint64_t>((address & 0x3ffff) >> 4) | uint64_t{1} << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

using Tile64 = float[32];  // of a warpgroup: 64 rows x 64 columns

// score = Q KT of a page, started.
template <int kDim>
__device__ __forceinline__ void MultiplyKeys(const uint32_t (&q)[kDim / 16][4], uint32_t keys,
                                             Tile64& score) {
#pragma unroll
  for (int s = 0; s < kDim / 16; ++s) {
    Wgmma<64>::Registers(score, q[s], SwizzledMatrix(keys + s / 4 * 8192 + s % 4 * 32), s > 0);
  }
}

// The rows of a lane, g and g + 8 of its warp, as far as softmax is concerned.
struct LaneRows {
  int32_t group_row[2], visible_end[2];
};

// Hides the keys that a row does not see, and turns scores into weights.
__device__ __forceinline__ void WeighKeys(const AttentionLaunch& args, const PageWork& work,
                                          const SplitInfo& info, const LaneRows& rows, float scale,
                                          Tile64 (&score)[kSplitPages],
                                          uint32_t (&weight)[kSplitPages][4][4], float (&most)[2],
                                          float (&total)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int p = 0; p < kSplitPages; ++p) {
      const int32_t page = info.split * kSplitPages + p;
      uint64_t visible = info.listed[p] & LowBits(rows.visible_end[r] - page * ops::kPageRows);
      if (info.fresh[p]) visible |= FreshKeys(args.step, work.group, rows.group_row[r], page);
      if (visible == ~uint64_t{0}) continue;
      visible >>= threadIdx.x % 4 * 2;
      const auto low = static_cast<uint32_t>(visible), high = static_cast<uint32_t>(visible >> 32);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& value = score[p][4 * j + 2 * r + e];
          value = (j < 4 ? low : high) >> (j % 4 * 8 + e) & 1 ? value : -INFINITY;
        }
      }
    }
    float largest = -INFINITY;
#pragma unroll
    for (int p = 0; p < kSplitPages; ++p) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        largest = fmaxf(largest, fmaxf(score[p][4 * j + 2 * r], score[p][4 * j + 2 * r + 1]));
      }
    }
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, 2));
    most[r] = largest * scale;
    const float base = largest == -INFINITY ? 0.f : most[r];
    float even_total = 0, odd_total = 0;
#pragma unroll
    for (int p = 0; p < kSplitPages; ++p) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float even = Exp2(__fmaf_rn(score[p][4 * j + 2 * r], scale, -base));
        const float odd = Exp2(__fmaf_rn(score[p][4 * j + 2 * r + 1], scale, -base));
        even_total += even;
        odd_total += odd;
        weight[p][j / 2][j % 2 * 2 + r] = PackPair(even, odd);
      }
    }
    float sum = even_total + odd_total;
    sum += __shfl_xor_sync(0xffffffff, sum, 1);
    sum += __shfl_xor_sync(0xffffffff, sum, 2);
    total[r] = sum;
  }
}

// sum = P V of 64 dimensions, whose first row of V is at `values`; waits for the result.
__device__ __forceinline__ void MultiplyValues(const uint32_t (&weight)[kSplitPages][4][4],
                                               const uint32_t (&values)[kSplitPages], Tile64& sum) {
  KeepOrder(sum);
  WgmmaFence();
#pragma unroll
  for (int p = 0; p < kSplitPages; ++p) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      Wgmma<64>::Registers(sum, weight[p][s], SwizzledMatrix(values[p] + s * 32), p + s > 0);
    }
  }
  WgmmaCommit();
  WgmmaWait<0>();
  KeepOrder(sum);
}

// Where the partial output of a row lies: blocks of 8 floats, of which the 8 rows that a warp
// writes at a time have different ones.
template <int kDim>
__device__ __forceinline__ int32_t PartialIndex(int32_t row, int32_t d) {
  return row * kDim + (d / 8 ^ row % 8) * 8 + d % 8;
}

template <int kDim>
__device__ __forceinline__ void LoadQuery(const AttentionLaunch& args, const BlockRows& rows,
                                          int32_t warp_row, uint32_t (&q)[kDim / 16][4]) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  const int64_t stride = int64_t{args.heads + 2 * args.kv.format.kv_heads} * kDim;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int32_t i = warp_row + lane / 4 + 8 * r;
    const float* from = args.qkv + rows.Row(i) * stride + int64_t{rows.Head(i)} * kDim;
#pragma unroll
    for (int s = 0; s < kDim / 16; ++s) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const auto* pair = reinterpret_cast<const float2*>(from + 16 * s + 8 * half + lane % 4 * 2);
        const float2 value = i < rows.count ? *pair : float2{};
        q[s][2 * half + r] = PackPair(value.x, value.y);
      }
    }
  }
}

// Of a warpgroup without rows, which the products do not keep together: a warp that lags by two
// uses of a slot would wait for the wrong one.
__device__ __forceinline__ void IdleTogether() { asm volatile("bar.sync 2, 128;" ::: "memory"); }

template <int kDim, int kGroups, bool kSpread>
__device__ __forceinline__ void Attend(const AttentionLaunch& args, const PagePlan& plan,
                                       PageShared<kDim, kGroups, kSpread>& shared) {
  using Shared = PageShared<kDim, kGroups, kSpread>;
  constexpr int kHalves = kDim / 64;
  const DeviceStep& step = args.step;
  const int32_t thread = static_cast<int32_t>(threadIdx.x % 128);
  const int32_t lane = thread % 32, g = lane / 4, t = lane % 4;
  const int32_t group_row = static_cast<int32_t>(threadIdx.x / 128) * 64;
  const int32_t warp_row = group_row + thread / 32 * 16;
  const float scale = args.scale * 1.4426950408889634f;  // of powers of 2; positive
  PageRing<Shared::kSlots> ring;
  PageRing<kSplitInfos> info_ring;
  uint32_t rounds = 0;
  // The part of the outputs that this block of the cluster merges, in pieces of 4 floats.
  const int32_t rank = kSpread ? static_cast<int32_t>(BlockRank()) : 0;
  constexpr int kPieces = kSpread ? kSpreadRows * kDim / 4 / 128 / 2 : 1;  // of a thread, at most
  const int32_t rank_pieces = kSpreadRows * kDim / 4 / plan.cluster;
  if constexpr (kSpread) ClusterWait();  // all blocks have begun
  WaitForPredecessor();

  ForEachWork<Shared::kRows>(args, plan, [&](const PageWork& work) {
    const BlockRows& rows = work.rows;
    const bool idle = group_row >= rows.count, busy = warp_row < rows.count;
    uint32_t q[kDim / 16][4];
    LoadQuery<kDim>(args, rows, warp_row, q);
    LaneRows lane_rows;  // those beyond the last one see what the first row sees
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int32_t i = warp_row + g + 8 * r;
      const int32_t row = rows.Row(i < rows.count ? i : 0);
      lane_rows.group_row[r] = row - work.group.row_begin;
      lane_rows.visible_end[r] = VisibleEnd(work.group, step.slots[row]);
    }
    RowState state[2];
    Tile64 out[kSpread ? 1 : kHalves] = {};
    RowState merged[kPieces];
    float4 merged_out[kPieces] = {};

    for (;;) {
      BarrierWait(SharedAddress(&shared.info_full[info_ring.slot]), info_ring.parity);
      const SplitInfo info = shared.infos[info_ring.slot];
      __syncwarp();
      if (lane == 0) BarrierArrive(SharedAddress(&shared.info_empty[info_ring.slot]));
      info_ring.Next();
      if (info.split == SplitInfo::kEndOfWork) break;
      const uint32_t buffer = rounds % 2;

      if (!kSpread || info.split != SplitInfo::kOthers) {
        // Pages that are not there have no visible keys: any other page stands in for them.
        int slots[kSplitPages];
        uint32_t at[kSplitPages];
        const auto next_pages = [&] {
#pragma unroll
          for (int p = 0; p < kSplitPages; ++p) {
            slots[p] = ring.slot;
            if (!info.read[p]) continue;
            BarrierWait(SharedAddress(&shared.full[ring.slot]), ring.parity);
            ring.Next();
          }
#pragma unroll
          for (int p = 0; p < kSplitPages; ++p) {
            at[p] = SharedAddress(shared.pages[slots[info.read[p] ? p : 1 - p]]);
          }
        };
        const auto release_pages = [&] {
#pragma unroll
          for (int p = 0; p < kSplitPages; ++p) {
            if (info.read[p] && thread == 0) BarrierArrive(SharedAddress(&shared.empty[slots[p]]));
          }
        };

        next_pages();
        uint32_t weight[kSplitPages][4][4] = {};
        float split_most[2] = {-INFINITY, -INFINITY}, split_total[2] = {};
        if (!idle) {
          Tile64 score[kSplitPages];
#pragma unroll
          for (int p = 0; p < kSplitPages; ++p) KeepOrder(score[p]);
          WgmmaFence();
#pragma unroll
          for (int p = 0; p < kSplitPages; ++p) MultiplyKeys<kDim>(q, at[p], score[p]);
          WgmmaCommit();
          WgmmaWait<0>();
#pragma unroll
          for (int p = 0; p < kSplitPages; ++p) KeepOrder(score[p]);
          release_pages();
          if (busy) {
            WeighKeys(args, work, info, lane_rows, scale, score, weight, split_most, split_total);
          }
        } else {
          IdleTogether();
          release_pages();
        }

        next_pages();
        if (!idle) {
          float keep[2], take[2];
          if constexpr (!kSpread) {
            state[0].Add(split_most[0], split_total[0], &keep[0], &take[0]);
            state[1].Add(split_most[1], split_total[1], &keep[1], &take[1]);
          }
#pragma unroll
          for (int h = 0; h < kHalves; ++h) {
            Tile64 sum;
            const uint32_t values[kSplitPages] = {at[0] + h * 8192, at[1] + h * 8192};
            MultiplyValues(weight, values, sum);
            if constexpr (!kSpread) {
#pragma unroll
              for (int i = 0; i < 32; ++i) {
                out[h][i] = RowState::Blend(out[h][i], sum[i], keep[i / 2 % 2], take[i / 2 % 2]);
              }
            } else if (busy) {
#pragma unroll
              for (int i = 0; i < 32; i += 2) {
                const int32_t row = warp_row + g + i / 2 % 2 * 8;
                *reinterpret_cast<float2*>(
                    &shared.partials[buffer][PartialIndex<kDim>(row, 64 * h + i / 4 * 8 + 2 * t)]) =
                    make_float2(sum[i], sum[i + 1]);
              }
            }
          }
        }
        release_pages();
        if (kSpread && busy && t == 0) {
          shared.states[buffer][warp_row + g] = make_float2(split_most[0], split_total[0]);
          shared.states[buffer][warp_row + g + 8] = make_float2(split_most[1], split_total[1]);
        }
      } else if (thread < kSpreadRows) {
        shared.states[buffer][thread] = make_float2(-INFINITY, 0.f);
      }

      if constexpr (kSpread) {
        const uint32_t barrier = SharedAddress(&shared.partials_full[buffer]);
        asm volatile("bar.sync 1, 128;" ::: "memory");
        if (thread < plan.cluster) {
          ClusterArriveAt(RemoteAddress(barrier, static_cast<uint32_t>(thread)));
        }
        ClusterWaitAt(barrier, rounds / 2 % 2);
        ++rounds;
#pragma unroll
        for (int j = 0; j < kPieces; ++j) {
          const int32_t piece = j * 128 + thread;
          const int32_t row = (rank * rank_pieces + piece) / (kDim / 4);
          if (piece >= rank_pieces || row >= rows.count) continue;
          const int32_t d = (rank * rank_pieces + piece) % (kDim / 4) * 4;
          float2 parts[kMaxCluster];
          float4 added[kMaxCluster];
#pragma unroll
          for (int c = 0; c < kMaxCluster; ++c) {
            if (c >= plan.cluster) continue;
            const auto of = static_cast<uint32_t>(c);
            parts[c] = LoadRemote2(RemoteAddress(SharedAddress(&shared.states[buffer][row]), of));
            added[c] = LoadRemote4(RemoteAddress(
                SharedAddress(&shared.partials[buffer][PartialIndex<kDim>(row, d)]), of));
          }
#pragma unroll
          for (int c = 0; c < kMaxCluster; ++c) {
            if (c >= plan.cluster || parts[c].x == -INFINITY) continue;
            float keep, take;
            merged[j].Add(parts[c].x, parts[c].y, &keep, &take);
            float4& sum = merged_out[j];
            sum.x = RowState::Blend(sum.x, added[c].x, keep, take);
            sum.y = RowState::Blend(sum.y, added[c].y, keep, take);
            sum.z = RowState::Blend(sum.z, added[c].z, keep, take);
            sum.w = RowState::Blend(sum.w, added[c].w, keep, take);
          }
        }
      }
    }

    if constexpr (kSpread) {
#pragma unroll
      for (int j = 0; j < kPieces; ++j) {
        const int32_t piece = j * 128 + thread;
        const int32_t i = (rank * rank_pieces + piece) / (kDim / 4);
        if (piece >= rank_pieces || i >= rows.count) continue;
        const int32_t d = (rank * rank_pieces + piece) % (kDim / 4) * 4;
        const float factor = merged[j].Factor();
        const float4& sum = merged_out[j];
        const int64_t k = int64_t{rows.Head(i)} * kDim + d;
        StoreAttention(args, rows.Row(i), k, sum.x * factor, sum.y * factor);
        StoreAttention(args, rows.Row(i), k + 2, sum.z * factor, sum.w * factor);
        if (d == 0 && rows.Head(i) == args.heads - 1) StorePadding(args, rows.Row(i));
      }
    } else {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int32_t i = warp_row + g + 8 * r;
        if (i >= rows.count) continue;
        const float factor = state[r].Factor();
        const int64_t k = int64_t{rows.Head(i)} * kDim + 2 * t;
#pragma unroll
        for (int h = 0; h < kHalves; ++h) {
#pragma unroll
          for (int j = 0; j < 8; ++j) {
            StoreAttention(args, rows.Row(i), k + 64 * h + 8 * j, out[h][4 * j + 2 * r] * factor,
                           out[h][4 * j + 2 * r + 1] * factor);
          }
        }
        if (t == 0 && rows.Head(i) == args.heads - 1) StorePadding(args, rows.Row(i));
      }
    }
  });
}

template <int kDim, int kGroups, bool kSpread>
__global__ void __launch_bounds__(PageShared<kDim, kGroups, kSpread>::kThreads,
                                  kGroups == 1 ? 2 : 1)
    AttentionStreamKernel(const __grid_constant__ AttentionLaunch args,
                          const __grid_constant__ PagePlan plan,
                          const __grid_constant__ CUtensorMap keys,
                          const __grid_constant__ CUtensorMap values) {
  using Shared = PageShared<kDim, kGroups, kSpread>;
  extern __shared__ __align__(1024) unsigned char shared_bytes[];
  Shared& shared = *reinterpret_cast<Shared*>(shared_bytes);
  if (threadIdx.x == 0) {
    for (int i = 0; i < Shared::kSlots; ++i) {
      BarrierInit(SharedAddress(&shared.full[i]), 1);
      BarrierInit(SharedAddress(&shared.empty[i]), kGroups);
    }
    for (int i = 0; i < kSplitInfos; ++i) {
      BarrierInit(SharedAddress(&shared.info_full[i]), 1);
      BarrierInit(SharedAddress(&shared.info_empty[i]), kGroups * 4);
    }
    for (int i = 0; i < 2; ++i) {
      BarrierInit(SharedAddress(&shared.partials_full[i]), plan.cluster);
    }
    BarrierInit(SharedAddress(&shared.uncut), 1);
    BarrierInitFence();
  }
  __syncthreads();
  if constexpr (kSpread) ClusterArrive();
  AllowSuccessor();
  if (threadIdx.x >= kGroups * 128) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Shared::kCopyRegisters));
    if (threadIdx.x < kGroups * 128 + 32) {
      StreamPages<kDim, kGroups, kSpread>(args, plan, keys, values, shared);
    }
    if constexpr (kSpread) ClusterWait();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Shared::kRegisters));
    Attend<kDim, kGroups, kSpread>(args, plan, shared);
  }
  // No block ends while others may still read its outputs.
  __syncwarp();
  if constexpr (kSpread) ClusterSync();
}

}  // namespace tessera::cuda
