// What the kernels of the linear layers are told: a list of products, as launched by Linears; and
// how their blocks wait for each other. All blocks are resident: one per multiprocessor.
#pragma once

#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/linear_plan.h"
#include "tessera/backend/cuda/pipeline.cuh"

namespace tessera::cuda {

inline constexpr int kConsumers = 256;             // threads that multiply: two warpgroups
inline constexpr int kThreads = kConsumers + 128;  // and one warpgroup whose lanes start copies
inline constexpr int kMaxPairs = 128;              // of blocks
inline constexpr int kMaxTiles = 1024;             // of rows, of all products of a launch together

// Zero between launches.
struct LinearSignals {
  uint32_t done;  // blocks that have ended
  // Whether the part of a run is in memory, by warpgroup of the pair.
  uint32_t written[2][kMaxPairs][4];
  uint32_t finished[kMaxTiles];  // warpgroups that have done with a tile
};

struct LinearProgram {
  LinearStep steps[kMaxLinearSteps];
  LinearPlan plans[kMaxLinearSteps];
  int32_t count;
  int32_t rows, padded_rows;
  LinearSignals* signals;
  float4* parts;  // see PartsOfTile
};

// All threads of one of the two warpgroups that multiply.
__device__ __forceinline__ void WarpgroupSync() {
  asm volatile("bar.sync %0, 128;" ::"r"(2 + static_cast<int>(threadIdx.x / 128 % 2)) : "memory");
}

// Tiles of rows are counted from the first product to the last. By one thread of a block, as many
// would keep the writers away: what all blocks wrote for the first `tiles` of them is visible when
// this returns.
__device__ __forceinline__ void WaitForTiles(const LinearProgram& program, uint32_t tiles) {
  if (tiles == 0) return;
  while (LoadAcquire(&program.signals->finished[tiles - 1]) < 2 * gridDim.x) {
  }
}
// By all threads of a warpgroup: it has done with tile `tile`.
__device__ __forceinline__ void FinishTile(const LinearProgram& program, uint32_t tile) {
  ProxyFence();
  WarpgroupSync();
  if (threadIdx.x % 128 == 0) AddRelease(&program.signals->finished[tile], 1);
}

}  // namespace tessera::cuda
