#include "tessera/backend/cuda/step_table.h"

#include <algorithm>
#include <bit>

namespace tessera::cuda {
namespace {

// Bytes of an array in the block: every one begins at a multiple of 16.
template <typename T>
size_t BlockBytes(const std::vector<T>& array) {
  return (array.size() * sizeof(T) + 15) / 16 * 16;
}

// Pads `values` to a power of two, at least `least` and its length of the step before.
template <typename T>
void PadToRoom(std::vector<T>* values, size_t before, size_t least) {
  values->resize(std::max(before, std::bit_ceil(std::max(values->size(), least))));
}

// The given rows, or zeros for those that the caller left out, then zeros.
void SetRows(std::vector<int32_t>* to, std::span<const int32_t> from, size_t padded) {
  to->assign(padded, 0);
  std::copy(from.begin(), from.end(), to->begin());
}

}  // namespace

void StepTable::Set(const StepInput& input) {
  const size_t rows = input.slots.size(), outputs = input.out_rows.size();
  const auto padded = static_cast<size_t>(PaddedRows(static_cast<int64_t>(rows)));
  SetRows(&tokens_, input.tokens, padded);
  SetRows(&positions_, input.positions, padded);
  slots_.assign(padded, -1);
  std::copy(input.slots.begin(), input.slots.end(), slots_.begin());
  row_group_.assign(padded, -1);
  SetRows(&out_rows_, input.out_rows,
          outputs == 0 ? 0 : static_cast<size_t>(PaddedRows(static_cast<int64_t>(outputs))));

  const size_t group_room = groups_.size(), page_room = pages_.size();
  const size_t range_room = ranges_.size(), bit_room = bits_.size();
  groups_.clear();
  pages_.clear();
  ranges_.clear();
  bits_.clear();
  tiles_.clear();
  int32_t most_keys = 0, most_rows = 0;
  const ops::AttentionGroup* before = nullptr;
  for (const ops::AttentionGroup& group : input.groups) {
    const auto index = static_cast<int32_t>(groups_.size());
    DeviceGroup entry = {.row_begin = group.row_begin,
                         .row_end = group.row_end,
                         .page_begin = static_cast<int32_t>(pages_.size()),
                         .range_begin = static_cast<int32_t>(ranges_.size()),
                         .range_count = static_cast<int32_t>(group.mask.slots.size()),
                         .keys = 0,
                         .rule = static_cast<int32_t>(group.mask.rule),
                         .block = group.mask.block,
                         .bits_begin = static_cast<int32_t>(bits_.size())};
    // Neighbours of one sequence share its pages.
    if (before != nullptr && before->pages.data() == group.pages.data() &&
        before->pages.size() == group.pages.size()) {
      entry.page_begin = groups_.back().page_begin;
    } else {
      pages_.insert(pages_.end(), group.pages.begin(), group.pages.end());
    }
    for (const ops::SlotRange& range : group.mask.slots) {
      entry.keys += range.end - range.begin;
      ranges_.push_back(range);
    }
    bits_.insert(bits_.end(), group.mask.bits.begin(), group.mask.bits.end());
    for (int32_t row = group.row_begin; row < group.row_end; ++row) {
      row_group_[static_cast<size_t>(row)] = index;
      if ((row - group.row_begin) % kAttentionRows == 0) {
        tiles_.push_back({.group = index, .row_begin = row});
      }
    }
    most_keys = std::max(most_keys, entry.keys);
    most_rows = std::max(most_rows, group.row_end - group.row_begin);
    groups_.push_back(entry);
    before = &group;
  }
  counts_ = {static_cast<int32_t>(rows), static_cast<int32_t>(groups_.size()),
             static_cast<int32_t>(tiles_.size()), static_cast<int32_t>(outputs)};
  max_keys_ = static_cast<int32_t>(
      std::bit_ceil(static_cast<uint32_t>(std::max(most_keys, kAttentionSplit))));
  max_group_rows_ = static_cast<int32_t>(
      most_rows <= kAttentionRows ? std::bit_ceil(static_cast<uint32_t>(std::max(most_rows, 1)))
                                  : padded);
  tiles_.resize(std::bit_ceil(std::max<size_t>(tiles_.size(), 1)));
  PadToRoom(&groups_, group_room, 8);
  PadToRoom(&pages_, page_room, 64);
  PadToRoom(&ranges_, range_room, 16);
  PadToRoom(&bits_, bit_room, 2);
}

void StepTable::Write(void* host) const {
  auto* at = static_cast<std::byte*>(host);
  const auto put = [&](const auto& array) {
    const auto source = std::as_bytes(std::span(array));
    std::copy(source.begin(), source.end(), at);
    at += BlockBytes(array);
  };
  // In the order of At.
  put(counts_);
  put(tokens_);
  put(slots_);
  put(positions_);
  put(row_group_);
  put(groups_);
  put(tiles_);
  put(pages_);
  put(ranges_);
  put(bits_);
  put(out_rows_);
}

DeviceStep StepTable::At(const void* device) const {
  auto* at = static_cast<const std::byte*>(device);
  const auto next = [&]<typename T>(const std::vector<T>& array) {
    const T* begin = reinterpret_cast<const T*>(at);
    at += BlockBytes(array);
    return begin;
  };
  return {.padded_rows = static_cast<int32_t>(slots_.size()),
          .max_tiles = static_cast<int32_t>(tiles_.size()),
          .max_keys = max_keys_,
          .max_group_rows = max_group_rows_,
          .counts = next(counts_),
          .tokens = next(tokens_),
          .slots = next(slots_),
          .positions = next(positions_),
          .row_group = next(row_group_),
          .groups = next(groups_),
          .tiles = next(tiles_),
          .pages = next(pages_),
          .ranges = next(ranges_),
          .bits = next(bits_),
          .out_rows = next(out_rows_)};
}

size_t StepTable::bytes() const {
  return BlockBytes(counts_) + BlockBytes(tokens_) + BlockBytes(slots_) + BlockBytes(positions_) +
         BlockBytes(row_group_) + BlockBytes(groups_) + BlockBytes(tiles_) + BlockBytes(pages_) +
         BlockBytes(ranges_) + BlockBytes(bits_) + BlockBytes(out_rows_);
}

}  // namespace tessera::cuda
