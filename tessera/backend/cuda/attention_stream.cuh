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

inline constexpr int32_t kFewRows = 32;  // folded rows of a work for one warpgroup
inline constexpr int32_t kMaxCluster = 8;
inline constexpr int kSplitInfos = 4;

// What the multiplying warps must know of a split.
struct alignas(8) SplitHead {
  static constexpr int32_t kOthers = -1;  // of a round in which only other blocks have splits
  static constexpr int32_t kEndOfWork = -2;
  int32_t split;
  bool read[kSplitPages];  // pages that are there
  bool whole;              // all slots are listed, and none is hidden from all rows
  bool fresh;              // some key is that of a fresh row
};
struct SplitInfo {
  SplitHead head;
  // Unless whole, a bit per slot:
  uint64_t listed[kSplitPages];
  uint64_t valid[kSplitPages];  // some row may see it
};

// kGroups warpgroups. Two have 64 rows each; one has 32, of which each of its warps takes 8 for the
// upper half of its part of a product: so softmax is short where there is nothing to hide it.
// kSpread: a cluster shares a work.
template <int kDim, int kGroups, bool kSpread>
struct PageShared {
  static_assert(kGroups == 1 || !kSpread);
  static constexpr int kThreads = kGroups * 128 + 128;  // one more warpgroup copies
  // Registers of its threads and of those that multiply: what a launch gives them, shared anew.
  static constexpr int kCopyRegisters = 56;
  static constexpr int kRegisters = kGroups == 2 ? 224 : 200;
  static constexpr int kRows = kGroups == 2 ? 128 : kFewRows;
  static constexpr int kPageBytes = static_cast<int>(ops::kPageRows) * kDim * 2;  // of one head
  // Two blocks of one warpgroup fit on a multiprocessor, or one of two.
  static constexpr int kSlots = kGroups == 2 ? 12 : kSpread ? 5 : 7;
  static constexpr int kPartialFloats = kSpread ? kRows * kDim : 4;

  alignas(1024) unsigned char pages[kSlots][kPageBytes];
  alignas(
      16) float partials[2][kPartialFloats];  // outputs of the splits of this round and the next
  float2 states[2][kFewRows];                 // their (maximum, sum)
  SplitInfo infos[kSplitInfos];
  uint64_t full[kSlots], empty[kSlots];
  uint64_t info_full[kSplitInfos], info_empty[kSplitInfos];
  uint64_t partials_full[2];
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
// Shared memory of other blocks is not cached: loads after a BarrierWait for their arrivals see
// what they wrote before.
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
// Zeros where nobody looks, by kThreads threads: such values may be NaN, which a weight of 0 does
// not hide.
template <int kDim, int kThreads>
__device__ __forceinline__ void CutValues(unsigned char* page, uint64_t valid) {
#pragma unroll 1
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kDim * 8; i += kThreads) {
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
  bool waited = false;
  const auto post = [&](const SplitInfo& info) {
    BarrierWait(SharedAddress(&shared.info_empty[info_ring.slot]), info_ring.parity ^ 1);
    if (leads) {
      SplitInfo& to = shared.infos[info_ring.slot];
      to.head = info.head;
      if (info.head.split >= 0 && !info.head.whole) {
#pragma unroll
        for (int p = 0; p < kSplitPages; ++p) {
          to.listed[p] = info.listed[p];
          to.valid[p] = info.valid[p];
        }
      }
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
      SplitInfo info = {
          .head = {.split = split, .read = {true, true}, .whole = walk.IsWhole(split)}};
      SplitHead& head = info.head;
      if (!head.whole) {
        walk.Find(split, info.listed, info.valid);
        head.fresh = (info.valid[0] | info.valid[1]) != 0;
#pragma unroll
        for (int32_t p = 0; p < kSplitPages; ++p) {
          info.valid[p] |= info.listed[p];
          head.read[p] = info.valid[p] != 0;
        }
      }
      int32_t page_head[kSplitPages] = {};
#pragma unroll
      for (int32_t p = 0; p < kSplitPages; ++p) {
        if (!head.read[p]) continue;
        page_head[p] = walk.PageNumber(split * kSplitPages + p) * kv_heads + work.kv_head;
      }
      if (!waited) WaitForPredecessor();
      waited = true;
#pragma unroll
      for (int32_t p = 0; p < kSplitPages; ++p) {
        if (!head.read[p]) continue;
        const uint32_t full = SharedAddress(&shared.full[ring.slot]);
        const uint32_t to = SharedAddress(shared.pages[ring.slot]);
        BarrierWait(SharedAddress(&shared.empty[ring.slot]), ring.parity ^ 1);
        if (leads) {
          BarrierExpect(full, Shared::kPageBytes);
#pragma unroll
          for (int32_t d = 0; d < kDim; d += 64) {
            TensorCopy(to + d * 128, keys, d, page_head[p] * ops::kPageRows, full);
          }
        }
        ring.Next();
      }
      post(info);
#pragma unroll
      for (int32_t p = 0; p < kSplitPages; ++p) {
        if (!head.read[p]) continue;
        const uint32_t full = SharedAddress(&shared.full[ring.slot]);
        const uint32_t to = SharedAddress(shared.pages[ring.slot]);
        BarrierWait(SharedAddress(&shared.empty[ring.slot]), ring.parity ^ 1);
        if (leads) {
          BarrierExpect(full, Shared::kPageBytes);
          TensorCopy(to, values, 0, page_head[p] * kDim, full);
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
      if (!has_own) post({.head = {.split = SplitHead::kOthers}});
    }
    post({.head = {.split = SplitHead::kEndOfWork}});
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

// The rows of a lane: kLaneRows of them, 8 apart. Those beyond the work's see what its first row
// sees.
template <int kLaneRows>
struct LaneRows {
  int32_t first;  // in the work
  int32_t visible_end[kLaneRows];

  __device__ __forceinline__ LaneRows(const DeviceStep& step, const PageWork& work,
                                      int32_t warp_row)
      : first(warp_row + static_cast<int32_t>(threadIdx.x % 32 / 4)) {
#pragma unroll
    for (int r = 0; r < kLaneRows; ++r) {
      visible_end[r] = VisibleEndOf(step, *work.group, work.rows.Row(At(work, r)));
    }
  }
  __device__ __forceinline__ bool IsReal(const PageWork& work, int r) const {
    return first + 8 * r < work.rows.count;
  }
  // Its folded row in the work.
  __device__ __forceinline__ int32_t At(const PageWork& work, int r) const {
    return IsReal(work, r) ? first + 8 * r : 0;
  }
};

using Weights = uint32_t[kSplitPages][4][4];  // of bf16, as the product with V reads them

// Hides the keys that a row does not see, and turns scores into weights.
template <int kLaneRows>
__device__ __forceinline__ void WeighKeys(const AttentionLaunch& args, const PageWork& work,
                                          const SplitHead& head, const SplitInfo& info,
                                          const LaneRows<kLaneRows>& rows, float scale,
                                          Tile64 (&score)[kSplitPages], Weights& weight,
                                          float (&most)[kLaneRows], float (&total)[kLaneRows]) {
  const int32_t begin = head.split * kAttentionSplit;
  int32_t least_end = rows.visible_end[0];
#pragma unroll
  for (int r = 1; r < kLaneRows; ++r) least_end = min(least_end, rows.visible_end[r]);
  if (!head.whole || least_end < begin + kAttentionSplit) {
    uint64_t visible[kLaneRows][kSplitPages];
    int32_t row[kLaneRows];
#pragma unroll
    for (int r = 0; r < kLaneRows; ++r) {
      row[r] = work.rows.Row(rows.At(work, r));
#pragma unroll
      for (int p = 0; p < kSplitPages; ++p) {
        visible[r][p] = (head.whole ? ~uint64_t{0} : info.listed[p]) &
                        LowBits(rows.visible_end[r] - begin - p * ops::kPageRows);
      }
    }
    if (head.fresh) {
      AddFreshKeys(args.step, *work.group, row, head.split * kSplitPages, visible);
    }
#pragma unroll
    for (int r = 0; r < kLaneRows; ++r) {
#pragma unroll
      for (int p = 0; p < kSplitPages; ++p) {
        const uint64_t keys = visible[r][p] >> (threadIdx.x % 4 * 2);
        const auto low = static_cast<uint32_t>(keys), high = static_cast<uint32_t>(keys >> 32);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& value = score[p][4 * j + 2 * r + e];
            value = (j < 4 ? low : high) >> (j % 4 * 8 + e) & 1 ? value : -INFINITY;
          }
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
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
__device__ __forceinline__ void MultiplyValues(const Weights& weight,
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

template <int kDim, int kLaneRows>
__device__ __forceinline__ void LoadQuery(const AttentionLaunch& args, const PageWork& work,
                                          const LaneRows<kLaneRows>& rows,
                                          uint32_t (&q)[kDim / 16][4]) {
  const int64_t stride = int64_t{args.heads + 2 * args.kv.format.kv_heads} * kDim;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int32_t at = r < kLaneRows ? rows.At(work, r) : 0;
    const float* from = args.qkv + work.rows.Row(at) * stride + int64_t{work.rows.Head(at)} * kDim;
#pragma unroll
    for (int s = 0; s < kDim / 16; ++s) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float2 pair = {};
        if (r < kLaneRows) {
          pair = reinterpret_cast<const float2*>(from)[8 * s + 4 * half + threadIdx.x % 4];
        }
        q[s][2 * half + r] = PackPair(pair.x, pair.y);
      }
    }
  }
}

// --- Outputs that the blocks of a cluster exchange -------------------------------------------

// Where the partial output of a row lies: blocks of 8 floats, of which the 8 rows that a warp
// writes at a time have different ones.
template <int kDim>
__device__ __forceinline__ int32_t PartialIndex(int32_t row, int32_t d) {
  return row * kDim + (d / 8 ^ row % 8) * 8 + d % 8;
}

// The part of a work's outputs that this block merges, in pieces of 4 floats of a row.
template <int kDim>
class MergedPart {
 public:
  __device__ __forceinline__ MergedPart(int32_t cluster, int32_t rank)
      : cluster_(cluster),
        count_((kAll + cluster - 1) / cluster),
        first_(rank * count_ + static_cast<int32_t>(threadIdx.x)) {}

  // Takes in the splits of a round; one per block, in their order.
  __device__ __forceinline__ void Add(const float* partials, const float2* states, int32_t rows) {
    ForEachPiece(rows, [&](int j, int32_t row, int32_t d) {
      const uint32_t state = SharedAddress(states + row);
      const uint32_t part = SharedAddress(partials + PartialIndex<kDim>(row, d));
      constexpr int kTogether = 4;
#pragma unroll 1
      for (int first = 0; first < cluster_; first += kTogether) {
        float2 split[kTogether];
        float4 added[kTogether];
#pragma unroll
        for (int c = 0; c < kTogether; ++c) {
          const auto of = static_cast<uint32_t>(min(first + c, cluster_ - 1));
          split[c] = LoadRemote2(RemoteAddress(state, of));
          added[c] = LoadRemote4(RemoteAddress(part, of));
        }
#pragma unroll
        for (int c = 0; c < kTogether; ++c) {
          if (first + c >= cluster_ || split[c].x == -INFINITY) continue;
          float keep, take;
          state_[j].Add(split[c].x, split[c].y, &keep, &take);
          out_[j].x = RowState::Blend(out_[j].x, added[c].x, keep, take);
          out_[j].y = RowState::Blend(out_[j].y, added[c].y, keep, take);
          out_[j].z = RowState::Blend(out_[j].z, added[c].z, keep, take);
          out_[j].w = RowState::Blend(out_[j].w, added[c].w, keep, take);
        }
      }
    });
  }

  __device__ __forceinline__ void Store(const AttentionLaunch& args, const BlockRows& rows) const {
    ForEachPiece(rows.count, [&](int j, int32_t i, int32_t d) {
      const int32_t row = rows.Row(i), head = rows.Head(i);
      const float factor = state_[j].Factor();
      const float2 low = {out_[j].x * factor, out_[j].y * factor};
      const float2 high = {out_[j].z * factor, out_[j].w * factor};
      OutputRow(args, row, head * kDim + d).Store<1>([&](int) { return low; });
      OutputRow(args, row, head * kDim + d + 2).Store<1>([&](int) { return high; });
      if (d == 0 && head == args.heads - 1) StorePadding(args, row);
    });
  }

 private:
  static constexpr int32_t kAll = kFewRows * kDim / 4;
  static constexpr int kPieces = kAll / 2 / 128;  // of a thread, at most

  template <typename Function>
  __device__ __forceinline__ void ForEachPiece(int32_t rows, Function&& f) const {
    constexpr int32_t kRowPieces = kDim / 4;
#pragma unroll
    for (int j = 0; j < kPieces; ++j) {
      const int32_t piece = first_ + j * 128;
      const bool own = j * 128 + static_cast<int32_t>(threadIdx.x) < count_;
      if (own && piece < rows * kRowPieces) f(j, piece / kRowPieces, piece % kRowPieces * 4);
    }
  }

  const int32_t cluster_, count_, first_;
  RowState state_[kPieces];
  float4 out_[kPieces] = {};
};

// --- The multiplying warps -------------------------------------------------------------------

// Barriers of theirs, by number.
inline constexpr int kCutBarrier = 1, kPartialBarrier = 2;
inline constexpr int kTurnBarrier = 3;  // of warpgroup 0; 4: of 1

template <int kThreads>
__device__ __forceinline__ void NamedBarrier(int number) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "n"(kThreads) : "memory");
}
template <int kThreads>
__device__ __forceinline__ void NamedBarrierArrive(int number) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "n"(kThreads) : "memory");
}

template <int kDim, int kGroups, bool kSpread>
__device__ __forceinline__ void Attend(const AttentionLaunch& args, const PagePlan& plan,
                                       PageShared<kDim, kGroups, kSpread>& shared) {
  using Shared = PageShared<kDim, kGroups, kSpread>;
  constexpr int kHalves = kDim / 64, kMultiplying = kGroups * 128, kLaneRows = kGroups;
  const DeviceStep& step = args.step;
  const int32_t thread = static_cast<int32_t>(threadIdx.x % 128);
  const int32_t lane = thread % 32, t = lane % 4;
  const auto group = static_cast<int32_t>(threadIdx.x / 128);
  const int32_t warp_row = static_cast<int32_t>(threadIdx.x / 32) * 8 * kLaneRows;
  const float scale = args.scale * 1.4426950408889634f;  // of powers of 2; positive
  PageRing<Shared::kSlots> ring;
  PageRing<kSplitInfos> info_ring;
  uint32_t rounds = 0;
  bool waited = false;
  const auto wait_for_others = [&] {
    if (waited) return;
    if constexpr (kSpread) ClusterWait();  // all blocks have begun
    WaitForPredecessor();
    waited = true;
  };
  // Two groups multiply by Q in turns, so that one's softmax runs beside the other's products. The
  // turns also keep the warps of an idle group from lagging by more than a use of a slot.
  if constexpr (kGroups == 2) {
    if (group == 1) NamedBarrierArrive<256>(kTurnBarrier);
  }

  ForEachWork<Shared::kRows>(args, plan, [&](const PageWork& work) {
    const BlockRows& rows = work.rows;
    const bool idle = kGroups == 2 && group * 64 >= rows.count, busy = warp_row < rows.count;
    const LaneRows<kLaneRows> lane_rows(step, work, warp_row);
    wait_for_others();
    uint32_t q[kDim / 16][4];
    LoadQuery<kDim>(args, work, lane_rows, q);
    RowState state[kLaneRows];
    float out[kSpread ? 1 : kHalves][16 * kLaneRows] = {};
    MergedPart<kDim> merged(plan.cluster, kSpread ? static_cast<int32_t>(BlockRank()) : 0);
    bool published = false;
    const auto next_head = [&] {
      BarrierWait(SharedAddress(&shared.info_full[info_ring.slot]), info_ring.parity);
      return shared.infos[info_ring.slot].head;
    };
    for (SplitHead head = next_head();;) {
      if (!kSpread && head.split == SplitHead::kEndOfWork) break;
      const bool has_split = !kSpread || head.split >= 0;
      const SplitInfo& info = shared.infos[info_ring.slot];
      // Pages that are not there have no visible keys: any other page stands in for them.
      int slots[kSplitPages];
      uint32_t at[kSplitPages];
      const auto next_pages = [&] {
#pragma unroll
        for (int p = 0; p < kSplitPages; ++p) {
          slots[p] = ring.slot;
          if (!head.read[p]) continue;
          BarrierWait(SharedAddress(&shared.full[ring.slot]), ring.parity);
          ring.Next();
        }
#pragma unroll
        for (int p = 0; p < kSplitPages; ++p) {
          at[p] = SharedAddress(shared.pages[head.read[p] ? slots[p] : slots[1 - p]]);
        }
      };
      const auto release_pages = [&] {
#pragma unroll
        for (int p = 0; p < kSplitPages; ++p) {
          if (head.read[p] && thread == 0) BarrierArrive(SharedAddress(&shared.empty[slots[p]]));
        }
      };

      Weights weight = {};
      float split_most[kLaneRows], split_total[kLaneRows] = {};
#pragma unroll
      for (float& most : split_most) most = -INFINITY;
      if (has_split) {
        next_pages();
        if constexpr (kGroups == 2) NamedBarrier<256>(kTurnBarrier + group);
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
          if constexpr (kGroups == 2) NamedBarrierArrive<256>(kTurnBarrier + 1 - group);
          release_pages();
          if (busy) {
            WeighKeys(args, work, head, info, lane_rows, scale, score, weight, split_most,
                      split_total);
          }
        } else {
          if constexpr (kGroups == 2) NamedBarrierArrive<256>(kTurnBarrier + 1 - group);
          release_pages();
        }
      }

      if constexpr (kSpread) {
        // The round before, while others end it.
        if (published) {
          const uint32_t last = rounds - 1;
          BarrierWait(SharedAddress(&shared.partials_full[last % 2]), last / 2 % 2);
          merged.Add(shared.partials[last % 2], shared.states[last % 2], rows.count);
        }
        if (head.split == SplitHead::kEndOfWork) break;
      }
      float* partials = shared.partials[rounds % 2];
      float2* states = shared.states[rounds % 2];

      if (has_split) {
        next_pages();
        if (!head.whole) {
#pragma unroll
          for (int p = 0; p < kSplitPages; ++p) {
            if (head.read[p]) CutValues<kDim, kMultiplying>(shared.pages[slots[p]], info.valid[p]);
          }
          SharedProxyFence();
          NamedBarrier<kMultiplying>(kCutBarrier);
        }
        if (!idle) {
          float keep[kLaneRows], take[kLaneRows];
          if constexpr (!kSpread) {
#pragma unroll
            for (int r = 0; r < kLaneRows; ++r) {
              state[r].Add(split_most[r], split_total[r], &keep[r], &take[r]);
            }
          }
#pragma unroll
          for (int h = 0; h < kHalves; ++h) {
            Tile64 sum;
            const uint32_t values[kSplitPages] = {at[0] + h * 8192, at[1] + h * 8192};
            MultiplyValues(weight, values, sum);
#pragma unroll
            for (int j = 0; j < 8; ++j) {
#pragma unroll
              for (int r = 0; r < kLaneRows; ++r) {
                const float even = sum[4 * j + 2 * r], odd = sum[4 * j + 2 * r + 1];
                if constexpr (kSpread) {
                  float* to =
                      partials + PartialIndex<kDim>(lane_rows.first, 64 * h + 8 * j + 2 * t);
                  if (busy) *reinterpret_cast<float2*>(to) = make_float2(even, odd);
                } else {
                  float* to = &out[h][2 * (kLaneRows * j + r)];
                  to[0] = RowState::Blend(to[0], even, keep[r], take[r]);
                  to[1] = RowState::Blend(to[1], odd, keep[r], take[r]);
                }
              }
            }
          }
        }
        release_pages();
        if (kSpread && t == 0) states[lane_rows.first] = make_float2(split_most[0], split_total[0]);
      } else if (thread < kFewRows) {
        states[thread] = make_float2(-INFINITY, 0.f);
      }
      __syncwarp();
      if (lane == 0) BarrierArrive(SharedAddress(&shared.info_empty[info_ring.slot]));
      info_ring.Next();

      if constexpr (kSpread) {
        NamedBarrier<128>(kPartialBarrier);
        if (thread < plan.cluster) {
          BarrierArriveRemote(SharedAddress(&shared.partials_full[rounds % 2]),
                              static_cast<uint32_t>(thread));
        }
        ++rounds;
        published = true;
      }
      head = next_head();
    }
    __syncwarp();
    if (lane == 0) BarrierArrive(SharedAddress(&shared.info_empty[info_ring.slot]));
    info_ring.Next();

    if constexpr (kSpread) {
      merged.Store(args, rows);
    } else {
#pragma unroll
      for (int r = 0; r < kLaneRows; ++r) {
        if (!lane_rows.IsReal(work, r)) continue;
        const float factor = state[r].Factor();
        const int32_t at = lane_rows.first + 8 * r, row = rows.Row(at), head = rows.Head(at);
        OutputRow(args, row, head * kDim + 2 * t).Store<8 * kHalves>([&](int i) {
          const float* values = &out[i / 8][2 * (kLaneRows * (i % 8) + r)];
          return make_float2(values[0] * factor, values[1] * factor);
        });
        if (t == 0 && head == args.heads - 1) StorePadding(args, row);
      }
    }
  });
  if constexpr (kSpread) wait_for_others();
  if constexpr (kGroups == 2) {
    if (group == 0) NamedBarrier<256>(kTurnBarrier);  // the turn that nobody takes
  }
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
