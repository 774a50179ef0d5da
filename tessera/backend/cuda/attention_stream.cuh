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

#include "tessera/backend/cuda/attention_cluster.cuh"
#include "tessera/backend/cuda/attention_copy.cuh"
#include "tessera/backend/cuda/attention_products.cuh"

namespace tessera::cuda {

// Barriers of the multiplying warps, by number.
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
