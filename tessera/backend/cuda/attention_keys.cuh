// The keys of a group, cut into units and splits.
//
// A unit is 8 slots that begin at a multiple of 8: one 16-byte piece of a page of V. Units are
// numbered along the group's ranges; one that two ranges share counts once. Fresh rows of kBits
// come after them, a unit per run of rows within the same 8 slots. 16 units in a row make a split.
// So where a split begins depends on the group's own list alone.
#pragma once

#include "tessera/backend/cuda/attention_rows.cuh"

namespace tessera::cuda {

inline constexpr int32_t kUnitKeys = 8;
inline constexpr int32_t kSplitUnits = kAttentionSplit / kUnitKeys;

struct SplitUnits {
  int64_t k_at[kSplitUnits];  // elements before the unit's first key; -1: nothing to read
  int64_t v_at[kSplitUnits];  // elements before its keys of dimension 0
  int32_t slot[kSplitUnits];
  uint32_t listed[kSplitUnits];           // a bit per key
  uint32_t visible[kSplitUnits];          // seen by some row of the block
  int32_t fresh[kSplitUnits][kUnitKeys];  // the key's row in the group, -1: none
  bool has_fresh[kSplitUnits], any_cut;   // any_cut: a unit that is read and not all visible
};

__device__ __forceinline__ uint32_t LowKeys(int32_t count) {
  return count <= 0 ? 0u : count >= kUnitKeys ? 0xffu : (1u << count) - 1;
}

// Units of the ranges that begin before slot `end`, which is positive.
__device__ inline int32_t CountListedUnits(const DeviceStep& step, const DeviceGroup& group,
                                           int32_t end) {
  int32_t units = 0, before = -1;
  for (int32_t i = 0; i < group.range_count; ++i) {
    const ops::SlotRange range = step.ranges[group.range_begin + i];
    if (range.begin >= range.end) continue;
    if (range.begin >= end) break;
    const int32_t last = min((range.end - 1) / kUnitKeys, (end - 1) / kUnitKeys);
    const int32_t first = range.begin / kUnitKeys;
    units += max(last - first + (first == before ? 0 : 1), 0);
    before = last;
  }
  return units;
}

__device__ inline int32_t CountFreshUnits(const DeviceStep& step, const DeviceGroup& group) {
  if (!HasFreshKeys(group)) return 0;
  int32_t units = 0, before = -1;
  for (int32_t row = group.row_begin; row < group.row_end; ++row) {
    const int32_t block = step.slots[row] / kUnitKeys;
    units += block != before;
    before = block;
  }
  return units;
}

// Unit `unit` of the ranges, or the number of units passed without finding it (then returns false).
__device__ inline bool FindListedUnit(const DeviceStep& step, const DeviceGroup& group,
                                      int32_t unit, int32_t* slot, uint32_t* listed,
                                      int32_t* passed) {
  int32_t before = -1;
  *passed = 0;
  for (int32_t i = 0; i < group.range_count; ++i) {
    ops::SlotRange range = step.ranges[group.range_begin + i];
    if (range.begin >= range.end) continue;
    const int32_t last = (range.end - 1) / kUnitKeys;
    const int32_t first = range.begin / kUnitKeys + (range.begin / kUnitKeys == before ? 1 : 0);
    if (unit - *passed <= last - first) {
      *slot = (first + unit - *passed) * kUnitKeys;
      *listed = 0;
      for (;;) {  // and the ranges after it that begin in the same unit
        *listed |= LowKeys(range.end - *slot) & ~LowKeys(range.begin - *slot);
        if (++i >= group.range_count) return true;
        range = step.ranges[group.range_begin + i];
        if (range.begin >= *slot + kUnitKeys) return true;
      }
    }
    *passed += last - first + 1;
    before = last;
  }
  return false;
}

// Entry `i` of split `split`. `visible_end`: of the block's rows, the largest.
__device__ inline void FillUnit(const DeviceStep& step, const DeviceGroup& group,
                                const ops::KvFormat& format, int32_t kv_head, int32_t visible_end,
                                int32_t split, int32_t i, SplitUnits* units) {
  int32_t slot = -1, passed = 0;
  uint32_t listed = 0, visible = 0;
  bool has_fresh = false;
  if (FindListedUnit(step, group, split * kSplitUnits + i, &slot, &listed, &passed)) {
    visible = listed & LowKeys(visible_end - slot);
  } else if (HasFreshKeys(group)) {
    int32_t units_left = split * kSplitUnits + i - passed;
    int32_t block = -1;
    for (int32_t row = group.row_begin; row < group.row_end; ++row) {
      const int32_t row_slot = step.slots[row];
      if (row_slot / kUnitKeys != block) {
        block = row_slot / kUnitKeys;
        if (units_left-- == 0) {
          slot = block * kUnitKeys;
          has_fresh = true;
          for (int32_t key = 0; key < kUnitKeys; ++key) units->fresh[i][key] = -1;
        }
        if (units_left < -1) break;
      }
      if (!has_fresh || Listed(step, group, row_slot)) continue;  // listed keys are seen already
      units->fresh[i][row_slot % kUnitKeys] = row - group.row_begin;
      visible |= 1u << (row_slot % kUnitKeys);
    }
  }
  int64_t k_at = -1, v_at = -1;
  if (visible != 0) {
    const int64_t page = step.pages[group.page_begin + slot / ops::kPageRows];
    const int32_t key = slot % ops::kPageRows;
    k_at = KeyIndex(page * format.kv_heads + kv_head, key, 0, format.head_dim);
    v_at = ValueIndex(page * format.kv_heads + kv_head, key, 0, format.head_dim);
  }
  units->k_at[i] = k_at;
  units->v_at[i] = v_at;
  units->slot[i] = slot;
  units->listed[i] = listed;
  units->visible[i] = visible;
  units->has_fresh[i] = has_fresh;
}

// Keys of a unit that row `row` of the group sees, a bit each.
__device__ __forceinline__ uint32_t VisibleKeys(const DeviceStep& step, const DeviceGroup& group,
                                                const SplitUnits& units, int32_t unit, int32_t row,
                                                int32_t visible_end) {
  if (!units.has_fresh[unit]) {
    return units.listed[unit] & LowKeys(visible_end - units.slot[unit]);
  }
  uint32_t keys = 0;
#pragma unroll 1  // rare
  for (int32_t key = 0; key < kUnitKeys; ++key) {
    const int32_t fresh = units.fresh[unit][key];
    if (fresh >= 0 && FreshVisible(step, group, row, fresh)) keys |= 1u << key;
  }
  return keys;
}

}  // namespace tessera::cuda
