// The work of a block of attention, and the pages of keys that it reads.
//
// A split is what lies in slots [128 i, 128 (i + 1)) of the sequence, two pages, of which those are
// read that hold a visible key. So the splits of a row, and what they hold, depend on the keys that
// it sees alone, not on how its group lists them.
#pragma once

#include "tessera/backend/cuda/attention_rows.cuh"

namespace tessera::cuda {

inline constexpr int32_t kSplitPages = kAttentionSplit / ops::kPageRows;

// How a launch divides the work. The grid is a line of clusters of blocks, each of which takes
// every so manieth work; the blocks of a cluster take turns at its splits.
struct PagePlan {
  int32_t tiles = 1;    // consecutive ones of a group that make a work
  int32_t chunks = 1;   // works for the folded rows of so many tiles
  int32_t cluster = 1;  // blocks
};

struct PageWork {
  DeviceGroup group;
  BlockRows rows;
  int32_t kv_head;
};

// Calls f(work) for every work of this cluster, of at most kRows folded rows, in order. Late tiles,
// which see most under causal rules, come first, and every other round runs backwards: that evens
// out what the clusters have to do.
template <int kRows, typename Function>
__device__ __forceinline__ void ForEachWork(const AttentionLaunch& args, const PagePlan& plan,
                                            Function&& f) {
  const DeviceStep& step = args.step;
  const int32_t tiles = step.counts[2], kv_heads = args.kv.format.kv_heads;
  const int32_t clusters = static_cast<int32_t>(gridDim.x) / plan.cluster;
  const int32_t own = static_cast<int32_t>(blockIdx.x) / plan.cluster;
  const int32_t windows = (tiles + plan.tiles - 1) / plan.tiles;
  const int32_t works = windows * kv_heads * plan.chunks;
  PageWork work;
  work.rows.heads_per_kv = args.heads / kv_heads;
  for (int32_t begin = 0, round = 0; begin < works; begin += clusters, ++round) {
    const int32_t index = begin + (round % 2 == 0 ? own : clusters - 1 - own);
    if (index >= works) continue;
    const int32_t chunk = index % plan.chunks;
    work.kv_head = index / plan.chunks % kv_heads;
    work.rows.first_head = work.kv_head * work.rows.heads_per_kv;
    work.rows.first = chunk * kRows;
    const int32_t first_tile = (windows - 1 - index / plan.chunks / kv_heads) * plan.tiles;
    for (int32_t i = first_tile; i < min(first_tile + plan.tiles, tiles); ++i) {
      const DeviceTile tile = step.tiles[i];
      work.group = step.groups[tile.group];
      if ((tile.row_begin - work.group.row_begin) / kAttentionRows % plan.tiles != 0) continue;
      const int32_t row_end = min(work.group.row_end, tile.row_begin + plan.tiles * kAttentionRows);
      work.rows.row_begin = tile.row_begin;
      work.rows.count =
          min((row_end - tile.row_begin) * work.rows.heads_per_kv - work.rows.first, kRows);
      if (work.rows.count > 0) f(static_cast<const PageWork&>(work));
    }
  }
}

// The lowest `count` bits.
__device__ __forceinline__ uint64_t LowBits(int32_t count) {
  return count <= 0 ? 0 : count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Of page `page`: the fresh rows that row `row` of a group with fresh keys sees, a bit per slot.
__device__ inline uint64_t FreshKeys(const DeviceStep& step, const DeviceGroup& group, int32_t row,
                                     int32_t page) {
  uint64_t keys = 0;
  for (int32_t i = 0; i < group.row_end - group.row_begin; ++i) {
    const int32_t slot = step.slots[group.row_begin + i];
    if (slot / ops::kPageRows == page && FreshVisible(step, group, row, i)) {
      keys |= uint64_t{1} << slot % ops::kPageRows;
    }
  }
  return keys;
}

// Walks the splits of a work; all by a whole warp.
class SplitWalk {
 public:
  static constexpr int32_t kEnd = INT_MAX;

  __device__ __forceinline__ SplitWalk(const DeviceStep& step, const PageWork& work)
      : step_(step), group_(work.group), lane_(static_cast<int32_t>(threadIdx.x % 32)) {
    if (lane_ < group_.range_count) range_ = step.ranges[group_.range_begin + lane_];
    const auto rule = static_cast<ops::MaskRule>(group_.rule);
    if (rule == ops::MaskRule::kCausal || rule == ops::MaskRule::kBlockCausal) {
      int32_t end = 0;
      for (int32_t row = work.rows.Row(0) + lane_; row <= work.rows.Row(work.rows.count - 1);
           row += 32) {
        end = max(end, VisibleEnd(group_, step.slots[row]));
      }
      visible_end_ = __reduce_max_sync(0xffffffff, end);
    }
    int32_t last = 0;
    ForEachRange([&](int32_t begin, int32_t end) { last = max(last, end - 1); });
    ForEachFresh([&](int32_t slot) { last = max(last, slot); });
    last_page_ = __reduce_max_sync(0xffffffff, last) / ops::kPageRows;
  }

  // Slots at or past it are hidden from all rows.
  __device__ __forceinline__ int32_t visible_end() const { return visible_end_; }

  // The first split after `split` of which something is visible.
  __device__ __forceinline__ int32_t Next(int32_t split) const {
    int32_t next = kEnd;
    ForEachRange([&](int32_t begin, int32_t end) {
      const int32_t first = max(begin / kAttentionSplit, split + 1);
      if (first <= (end - 1) / kAttentionSplit) next = min(next, first);
    });
    ForEachFresh([&](int32_t slot) {
      if (slot / kAttentionSplit > split) next = min(next, slot / kAttentionSplit);
    });
    return __reduce_min_sync(0xffffffff, next);
  }

  // The slots of a page that are listed and not hidden from all rows, a bit each.
  __device__ __forceinline__ uint64_t Listed(int32_t page) const {
    uint64_t listed = 0;
    ForEachRange([&](int32_t begin, int32_t end) { listed |= Slots(page, begin, end); });
    return OrOfLanes(listed);
  }
  // Those that hold keys of fresh rows.
  __device__ __forceinline__ uint64_t Fresh(int32_t page) const {
    if (!HasFreshKeys(group_)) return 0;
    uint64_t fresh = 0;
    ForEachFresh([&](int32_t slot) { fresh |= Slots(page, slot, slot + 1); });
    return OrOfLanes(fresh);
  }

  // Where a page of the sequence lies.
  __device__ __forceinline__ int32_t PageNumber(int32_t page) {
    if (page < window_ || page >= window_ + 32) {
      window_ = page;
      number_ = step_.pages[group_.page_begin + min(page + lane_, last_page_)];
    }
    return __shfl_sync(0xffffffff, number_, page - window_);
  }

 private:
  static __device__ __forceinline__ uint64_t Slots(int32_t page, int32_t begin, int32_t end) {
    const int32_t first = page * ops::kPageRows;
    return LowBits(end - first) & ~LowBits(begin - first);
  }
  static __device__ __forceinline__ uint64_t OrOfLanes(uint64_t bits) {
    const uint32_t low = __reduce_or_sync(0xffffffff, static_cast<uint32_t>(bits));
    const uint32_t high = __reduce_or_sync(0xffffffff, static_cast<uint32_t>(bits >> 32));
    return uint64_t{high} << 32 | low;
  }
  // Those of this lane that are not empty; the first is at hand.
  template <typename Function>
  __device__ __forceinline__ void ForEachRange(Function&& f) const {
    if (range_.begin < min(range_.end, visible_end_))
      f(range_.begin, min(range_.end, visible_end_));
    for (int32_t i = lane_ + 32; i < group_.range_count; i += 32) {
      const ops::SlotRange range = step_.ranges[group_.range_begin + i];
      if (range.begin < min(range.end, visible_end_)) f(range.begin, min(range.end, visible_end_));
    }
  }
  template <typename Function>
  __device__ __forceinline__ void ForEachFresh(Function&& f) const {
    if (!HasFreshKeys(group_)) return;
    for (int32_t row = group_.row_begin + lane_; row < group_.row_end; row += 32) {
      f(step_.slots[row]);
    }
  }

  const DeviceStep& step_;
  const DeviceGroup& group_;
  const int32_t lane_;
  ops::SlotRange range_ = {0, 0};
  int32_t visible_end_ = INT_MAX, last_page_ = 0;
  int32_t window_ = -32, number_ = 0;
};

}  // namespace tessera::cuda
