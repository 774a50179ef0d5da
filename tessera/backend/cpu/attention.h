// The host side of attention: masks per page, and the split into tiles.
#pragma once

#include <cstdint>
#include <vector>

#include "tessera/backend/cpu/op_kernels.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/device.h"
#include "tessera/tensor/tensor.h"

namespace tessera::cpu {

// Runs attention; owns the scratch memory that successive layers share. One call at a time.
//
// Keys are visited page by page in slot order, whatever ranges list them, so how a key list is cut
// into ranges never changes a bit. Rows are cut into tiles of one K/V head each; lanes of a tile
// are independent, so neither does the number of rows or threads.
class AttentionRunner {
 public:
  void Run(const ops::AttentionArgs& args, const OpKernels& kernels, ThreadPool& pool);

 private:
  // A group's pages that at least one of its rows may see.
  struct GroupPages {
    const ops::AttentionGroup* group;
    size_t page_begin;  // in k_ and v_
    int32_t num_pages;
    size_t mask_begin;    // in masks_: [num_pages, mask_stride]
    int32_t mask_stride;  // rows of the group, or 1 if all rows see the same keys
  };
  // Lanes [lane_begin, lane_end) of the (row, head of the K/V head) pairs of a group.
  struct Tile {
    int32_t group;
    int32_t kv_head;
    int64_t lane_begin;
    int64_t lane_end;
  };

  void AddGroup(const ops::AttentionArgs& args, const ops::AttentionGroup& group);
  void AddTiles(const ops::AttentionArgs& args, int num_threads);
  void RunTile(const ops::AttentionArgs& args, const OpKernels& kernels, const Tile& tile,
               float* scratch) const;

  std::vector<GroupPages> groups_;
  std::vector<const char*> k_, v_;
  std::vector<uint64_t> masks_;
  std::vector<uint64_t> listed_, fresh_;  // per page of the group in hand
  std::vector<Tile> tiles_;
  Buffer scratch_;
};

}  // namespace tessera::cpu
