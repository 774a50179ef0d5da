#include "tessera/backend/cuda/step_table.h"

#include <gtest/gtest.h>

#include <numeric>

namespace tessera::cuda {
namespace {

using ops::AttentionGroup, ops::MaskRule, ops::SlotRange;

// What the kernels would see: the block in host memory. Kept by the caller while it is read.
DeviceStep Block(const StepTable& table, std::vector<uint64_t>* memory) {
  memory->assign(table.bytes() / sizeof(uint64_t) + 2, ~uint64_t{0});
  auto address = reinterpret_cast<uintptr_t>(memory->data());
  auto* aligned = reinterpret_cast<void*>((address + 15) / 16 * 16);
  table.Write(aligned);
  return table.At(aligned);
}

// One sequence that extends by `rows` rows behind `keys` slots.
struct OneSequence {
  OneSequence(int32_t rows, int32_t keys) : slots(static_cast<size_t>(rows)), range{0, keys} {
    std::iota(slots.begin(), slots.end(), keys - rows);
    pages.resize(static_cast<size_t>(keys / ops::kPageRows + 1));
    std::iota(pages.begin(), pages.end(), 5);
    group = {.row_begin = 0, .row_end = rows, .pages = pages, .mask = {.slots = {&range, 1}}};
  }
  StepInput input() const { return {.slots = slots, .groups = {&group, 1}}; }

  std::vector<int32_t> slots, pages;
  SlotRange range;
  AttentionGroup group;
};

TEST(StepTable, HoldsTheStep) {
  std::vector<int32_t> tokens(70), positions(70), slots(70);
  std::iota(tokens.begin(), tokens.end(), 1000);
  std::iota(positions.begin(), positions.end(), 200);
  std::iota(slots.begin(), slots.end(), 30);
  const std::vector<int32_t> pages = {7, 3, 9}, tree_pages = {4}, out_rows = {0, 33, 69};
  const std::vector<SlotRange> ranges = {{0, 10}, {30, 96}};
  const SlotRange prefix = {0, 20}, tree_range = {0, 5};
  const std::vector<uint64_t> bits = {1, 3};
  const std::vector<AttentionGroup> groups = {
      {.row_begin = 0,
       .row_end = 67,
       .pages = pages,
       .mask = {.rule = MaskRule::kBlockCausal, .block = 32, .slots = ranges}},
      {.row_begin = 67,
       .row_end = 68,
       .pages = pages,
       .mask = {.rule = MaskRule::kCausal, .slots = {&prefix, 1}}},
      {.row_begin = 68,
       .row_end = 70,
       .pages = tree_pages,
       .mask = {.rule = MaskRule::kBits, .slots = {&tree_range, 1}, .bits = bits}}};
  StepTable table;
  table.Set({.tokens = tokens,
             .positions = positions,
             .slots = slots,
             .groups = groups,
             .out_rows = out_rows});
  std::vector<uint64_t> memory;
  const DeviceStep step = Block(table, &memory);

  EXPECT_EQ(step.padded_rows, 128);
  EXPECT_EQ(std::vector(step.counts, step.counts + 4), (std::vector{70, 3, 5, 3}));
  for (int32_t row = 0; row < 128; ++row) {
    const bool real = row < 70;
    EXPECT_EQ(step.tokens[row], real ? 1000 + row : 0) << row;
    EXPECT_EQ(step.positions[row], real ? 200 + row : 0) << row;
    EXPECT_EQ(step.slots[row], real ? 30 + row : -1) << row;
    EXPECT_EQ(step.row_group[row], row < 67 ? 0 : row < 68 ? 1 : real ? 2 : -1) << row;
  }
  EXPECT_EQ(table.padded_outputs(), 8);
  EXPECT_EQ(std::vector(step.out_rows, step.out_rows + 8), (std::vector{0, 33, 69, 0, 0, 0, 0, 0}));

  EXPECT_EQ(step.max_tiles, 8);
  const std::vector<std::pair<int32_t, int32_t>> tiles = {
      {0, 0}, {0, 32}, {0, 64}, {1, 67}, {2, 68}};
  for (size_t i = 0; i < tiles.size(); ++i) {
    EXPECT_EQ(std::pair(step.tiles[i].group, step.tiles[i].row_begin), tiles[i]) << i;
  }
  EXPECT_EQ(step.max_keys, 128);  // not below one split
  EXPECT_EQ(step.max_group_rows, 128);
  for (size_t g = 0; g < groups.size(); ++g) {
    const DeviceGroup& group = step.groups[g];
    EXPECT_EQ(group.row_begin, groups[g].row_begin);
    EXPECT_EQ(group.row_end, groups[g].row_end);
    EXPECT_EQ(group.rule, static_cast<int32_t>(groups[g].mask.rule));
    EXPECT_EQ(group.block, groups[g].mask.block);
    for (size_t i = 0; i < groups[g].pages.size(); ++i) {
      EXPECT_EQ(step.pages[static_cast<size_t>(group.page_begin) + i], groups[g].pages[i]);
    }
    ASSERT_EQ(group.range_count, static_cast<int32_t>(groups[g].mask.slots.size()));
    for (size_t i = 0; i < groups[g].mask.slots.size(); ++i) {
      EXPECT_EQ(step.ranges[static_cast<size_t>(group.range_begin) + i], groups[g].mask.slots[i]);
    }
  }
  EXPECT_EQ(step.groups[0].keys, 76);
  EXPECT_EQ(step.groups[1].keys, 20);
  EXPECT_EQ(step.groups[1].page_begin, step.groups[0].page_begin);  // of the same sequence
  EXPECT_NE(step.groups[2].page_begin, step.groups[0].page_begin);
  EXPECT_EQ(step.bits[step.groups[2].bits_begin], 1u);
  EXPECT_EQ(step.bits[step.groups[2].bits_begin + 1], 3u);
}

TEST(StepTable, WhatOperationsLeaveOutIsZero) {
  StepTable table;
  table.Set(OneSequence(3, 3).input());
  std::vector<uint64_t> memory;
  const DeviceStep step = Block(table, &memory);
  EXPECT_EQ(step.padded_rows, 8);
  EXPECT_EQ(table.padded_outputs(), 0);
  EXPECT_EQ(std::vector(step.tokens, step.tokens + 8), std::vector<int32_t>(8));
  EXPECT_EQ(std::vector(step.positions, step.positions + 8), std::vector<int32_t>(8));
}

TEST(StepTable, StepsOfABucketAreLaidOutAlike) {
  const std::byte* device = nullptr;  // only addresses are compared
  StepTable table;
  table.Set(OneSequence(32, 130).input());
  const DeviceStep first = table.At(device);
  EXPECT_EQ(first.max_keys, 256);
  EXPECT_EQ(first.max_group_rows, 32);
  table.Set(OneSequence(20, 256).input());
  EXPECT_EQ(first, table.At(device));
  table.Set(OneSequence(16, 256).input());  // fewer padded rows
  EXPECT_NE(first, table.At(device));
  table.Set(OneSequence(32, 257).input());  // more splits of keys
  EXPECT_NE(first, table.At(device));
}

TEST(StepTable, RoomNeverShrinks) {
  const std::byte* device = nullptr;
  StepTable table;
  table.Set(OneSequence(8, 100).input());
  const DeviceStep before = table.At(device);
  table.Set(OneSequence(8, 65 * ops::kPageRows).input());  // more pages than there was room for
  table.Set(OneSequence(8, 100).input());
  const DeviceStep after = table.At(device);
  EXPECT_NE(before, after);
  table.Set(OneSequence(8, 120).input());
  EXPECT_EQ(after, table.At(device));
}

}  // namespace
}  // namespace tessera::cuda
