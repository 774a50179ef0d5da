// The work of a block of attention, and the pages of keys that it reads.
//
// A split is what lies in slots [128 i, 128 (i + 1)) of the sequence, two pages, of which those are
// read that hold a visible key. So the splits of a row, and what they hold, depend on the keys that
// it sees alone, not on how its group lists them.
#pragma once

#include "tessera/backend/cuda/attention_rows.cuh"

namespace tessera::cuda {

inline constexpr int32_t kSplitPages = kAttentionSplit / ops::kPageRows;

// How a launch divides the work. The grid is a line of clusters of blocks, which take turns at the
// works; the blocks of a cluster take turns at the splits of a work.
struct PagePlan {
  int32_t tiles = 1;    // consecutive ones of a group that make a work
  int32_t chunks = 1;   // works for the folded rows of so many tiles
  int32_t cluster = 1;  // blocks
};

struct PageWork {
  const DeviceGroup* group;
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
  // Of the bucket, so that nothing waits for the count.
  const int32_t windows = (step.max_tiles + plan.tiles - 1) / plan.tiles;
  const int32_t works = windows * kv_heads * plan.chunks;
  PageWork work;
  work.rows.heads_per_kv = args.heads / kv_heads;
#pragma unroll 1
  for (int32_t begin = 0, round = 0; begin < works; begin += clusters, ++round) {
    const int32_t index = begin + (round % 2 == 0 ? own : clusters - 1 - own);
    if (index >= works) continue;
    work.kv_head = index / plan.chunks % kv_heads;
    work.rows.first_head = work.kv_head * work.rows.heads_per_kv;
    work.rows.first = index % plan.chunks * kRows;
    const int32_t first_tile = (windows - 1 - index / plan.chunks / kv_heads) * plan.tiles;
#pragma unroll 1
    for (int32_t i = first_tile; i < min(first_tile + plan.tiles, step.max_tiles); ++i) {
      const DeviceTile tile = step.tiles[i];
      if (i >= tiles) break;
      work.group = step.groups + tile.group;
      const int32_t row_begin = work.group->row_begin, row_end = work.group->row_end;
      if ((tile.row_begin - row_begin) / kAttentionRows % plan.tiles != 0) continue;
      work.rows.row_begin = tile.row_begin;
      const int32_t rows = min(row_end - tile.row_begin, plan.tiles * kAttentionRows);
      work.rows.count = min(rows * work.rows.heads_per_kv - work.rows.first, kRows);
      if (work.rows.count > 0) f(static_cast<const PageWork&>(work));
    }
  }
}

// The lowest `count` bits.
__device__ __forceinline__ uint64_t LowBits(int32_t count) {
  return count <= 0 ? 0 : count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Adds to keys[r][p] the fresh rows in page first_page + p that row rows[r] sees, a bit per slot.
template <int kRows, int kPages>
__device__ __forceinline__ void AddFreshKeys(const DeviceStep& step, const DeviceGroup& group,
                                             const int32_t (&rows)[kRows], int32_t first_page,
                                             uint64_t (&keys)[kRows][kPages]) {
#pragma unroll 1
  for (int32_t i = 0; i < group.row_end - group.row_begin; ++i) {
    const int32_t slot = step.slots[group.row_begin + i];
    const int32_t page = slot / ops::kPageRows - first_page;
    if (page < 0 || page >= kPages) continue;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const uint64_t key = uint64_t{FreshVisible(step, group, rows[r] - group.row_begin, i)}
                           << slot % ops::kPageRows;
#pragma unroll
      for (int p = 0; p < kPages; ++p) keys[r][p] |= page == p ? key : 0;
    }
  }
}

// Walks the splits of a work; all by a whole warp.
class SplitWalk {
 public:
  static constexpr int32_t kEnd = INT_MAX;

  __device__ __forceinline__ SplitWalk(const DeviceStep& step, const PageWork& work)
      : step_(step), group_(*work.group), lane_(static_cast<int32_t>(threadIdx.x % 32)) {
    if (lane_ < group_.range_count) range_ = step.ranges[group_.range_begin + lane_];
    int32_t end = 0;
#pragma unroll 1
    for (int32_t row = work.rows.Row(0) + lane_; row <= work.rows.Row(work.rows.count - 1);
         row += 32) {
      end = max(end, VisibleEndOf(step, group_, row));
    }
    visible_end_ = __reduce_max_sync(0xffffffff, end);
    range_.end = min(range_.end, visible_end_);
    int32_t last = 0;
    ForEachRange([&](int32_t begin, int32_t end) { last = max(last, end - 1); });
    ForEachFresh([&](int32_t slot) { last = max(last, slot); });
    last_page_ = __reduce_max_sync(0xffffffff, last) / ops::kPageRows;
  }

  // The first split after `split` of which something is visible.
  __device__ __forceinline__ int32_t Next(int32_t split) const {
    // Mostly one that a range at hand reaches into.
    const int32_t first = (split + 1) * kAttentionSplit;
    if (Any(range_.begin < min(range_.end, first + kAttentionSplit) && first < range_.end)) {
      return split + 1;
    }
    int32_t next = kEnd;
    ForEachRange([&](int32_t begin, int32_t end) {
      const int32_t at = max(begin / kAttentionSplit, split + 1);
      if (at <= (end - 1) / kAttentionSplit) next = min(next, at);
    });
    ForEachFresh([&](int32_t slot) {
      if (slot / kAttentionSplit > split) next = min(next, slot / kAttentionSplit);
    });
    return __reduce_min_sync(0xffffffff, next);
  }

  // Whether all slots of a split are listed and not hidden from all rows; may miss some such.
  __device__ __forceinline__ bool IsWhole(int32_t split) const {
    return Any(range_.begin <= split * kAttentionSplit &&
               (split + 1) * kAttentionSplit <= range_.end);
  }
  // The slots of a split that are listed and not hidden from all rows, and those that hold keys of
  // fresh rows, a bit each.
  __device__ __forceinline__ void Find(int32_t split, uint64_t (&listed)[kSplitPages],
                                       uint64_t (&fresh)[kSplitPages]) const {
    uint32_t words[4 * kSplitPages] = {};  // of listed, then of fresh
    const auto add = [&](uint32_t* to, int32_t begin, int32_t end) {
#pragma unroll
      for (int i = 0; i < 2 * kSplitPages; ++i) {
        const int32_t first = split * kAttentionSplit + 32 * i;
        to[i] |= LowBits32(end - first) & ~LowBits32(begin - first);
      }
    };
    ForEachRange([&](int32_t begin, int32_t end) { add(words, begin, end); });
    ForEachFresh([&](int32_t slot) { add(words + 2 * kSplitPages, slot, slot + 1); });
#pragma unroll
    for (uint32_t& word : words) word = __reduce_or_sync(0xffffffff, word);
#pragma unroll
    for (int p = 0; p < kSplitPages; ++p) {
      listed[p] = uint64_t{words[2 * p + 1]} << 32 | words[2 * p];
      fresh[p] = uint64_t{words[2 * (kSplitPages + p) + 1]} << 32 | words[2 * (kSplitPages + p)];
    }
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
  static __device__ __forceinline__ bool Any(bool value) {
    return __any_sync(0xffffffff, value) != 0;
  }
  static __device__ __forceinline__ uint32_t LowBits32(int32_t count) {
    return count <= 0 ? 0 : count >= 32 ? ~0u : (1u << count) - 1;
  }
  // Those of this lane that are not empty, up to what no row sees; the first is at hand.
  template <typename Function>
  __device__ __forceinline__ void ForEachRange(Function&& f) const {
    ops::SlotRange range = range_;
#pragma unroll 1
    for (int32_t i = lane_;;) {
      if (range.begin < range.end) f(range.begin, range.end);
      i += 32;
      if (i >= group_.range_count) break;
      range = step_.ranges[group_.range_begin + i];
      range.end = min(range.end, visible_end_);
    }
  }
  template <typename Function>
  __device__ __forceinline__ void ForEachFresh(Function&& f) const {
    if (!HasFreshKeys(group_)) return;
#pragma unroll 1
    for (int32_t row = group_.row_begin + lane_; row < group_.row_end; row += 32) {
      f(step_.slots[row]);
    }
  }

  const DeviceStep& step_;
  const DeviceGroup group_;
  const int32_t lane_;
  ops::SlotRange range_ = {0, 0};
  int32_t visible_end_ = 0, last_page_ = 0;
  int32_t window_ = -32, number_ = 0;
};

}  // namespace tessera::cuda
