// Shared memory of a block of attention_stream.cuh.
#pragma once

#include "tessera/backend/cuda/attention_pages.cuh"

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

}  // namespace tessera::cuda
