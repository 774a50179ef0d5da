// What the kernels of the linear layers are told: a list of products, as launched by Linears.
#pragma once

#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/linear_plan.h"
#include "tessera/backend/cuda/pipeline.cuh"

namespace tessera::cuda {

inline constexpr int kConsumers = 256;             // threads that multiply: two warpgroups
inline constexpr int kThreads = kConsumers + 128;  // and one warpgroup whose lanes start copies

struct LinearProgram {
  LinearStep steps[kMaxLinearSteps];
  LinearPlan plans[kMaxLinearSteps];
  int32_t count;
  int32_t rows, padded_rows;
  int32_t max_slots;   // of any plan
  uint32_t* counters;  // [0] arrivals at the barrier of the grid, [1] blocks that are done
  float4* parts;       // [2][max_slots] parts, see PartIndex
};

// A part is the sums of one run of a pair over one band: [half band][warpgroup][8 rows][thread] of
// four sums, as the lanes hold them (wgmma.cuh).
__device__ __forceinline__ int64_t PartIndex(const LinearProgram& program, int parity, int slot,
                                             int tile_rows, int feature_group, int row_group) {
  const int64_t part = static_cast<int64_t>(parity) * program.max_slots + slot;
  return ((part * 4 + feature_group) * (tile_rows / 8) + row_group) * 128;
}

// Barriers of the whole grid, passed by the consumers and waited for by producers. All blocks are
// resident: one per multiprocessor.
__device__ __forceinline__ void GridArriveAndWait(const LinearProgram& program, uint32_t passed) {
  ProxyFence();
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
  if (threadIdx.x % kConsumers == 0) {
    AddRelease(program.counters, 1);
    while (LoadAcquire(program.counters) < passed * gridDim.x) {
    }
  }
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
}

}  // namespace tessera::cuda
