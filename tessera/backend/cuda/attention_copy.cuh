// The copying warp of attention_stream.cuh, and what is left to do with pages that it brought.
#pragma once

#include <cuda.h>

#include "tessera/backend/cuda/attention_cluster.cuh"

namespace tessera::cuda {

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

}  // namespace tessera::cuda
