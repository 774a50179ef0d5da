// What the blocks of a cluster that shares a work exchange: the outputs of their splits.
#pragma once

#include "tessera/backend/cuda/attention_shared.cuh"
#include "tessera/backend/cuda/attention_softmax.cuh"
#include "tessera/backend/cuda/pipeline.cuh"

namespace tessera::cuda {

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

}  // namespace tessera::cuda
