#include "tessera/backend/cpu/attention.h"

#include <algorithm>

#include "tessera/backend/cpu/kv_pages.h"

namespace tessera::cpu {
namespace {

using ops::kPageRows;
using ops::MaskRule;

static_assert(kPageRows == kPageSlots, "kernels assume 64-bit page masks");

uint64_t LowBits(int64_t count) {
  if (count <= 0) return 0;
  return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Slots the rule hides from a row: those at or past the result.
int64_t RuleEnd(const ops::MaskSpec& mask, int32_t slot) {
  if (mask.rule == MaskRule::kCausal) return int64_t{slot} + 1;
  return (int64_t{slot} / mask.block + 1) * mask.block;
}

}  // namespace

void AttentionRunner::AddGroup(const ops::AttentionArgs& args, const ops::AttentionGroup& group) {
  const ops::MaskSpec& mask = group.mask;
  const int32_t rows = group.row_end - group.row_begin;
  const int32_t* slots = args.slots.data() + group.row_begin;
  const bool bits = mask.rule == MaskRule::kBits;

  int32_t end = 0;
  for (const ops::SlotRange& range : mask.slots) end = std::max(end, range.end);
  for (int32_t i = 0; bits && i < rows; ++i) end = std::max(end, slots[i] + 1);
  const int32_t num_logical = (end + kPageRows - 1) / kPageRows;
  listed_.assign(num_logical, 0);
  fresh_.assign(num_logical, 0);
  for (const ops::SlotRange& range : mask.slots) {
    for (int32_t page = range.begin / kPageRows; page * kPageRows < range.end; ++page) {
      listed_[page] |=
          LowBits(range.end - page * kPageRows) & ~LowBits(range.begin - page * kPageRows);
    }
  }
  for (int32_t i = 0; bits && i < rows; ++i) {
    fresh_[slots[i] / kPageRows] |= uint64_t{1} << (slots[i] % kPageRows);
  }

  GroupPages entry{.group = &group,
                   .page_begin = k_.size(),
                   .num_pages = 0,
                   .mask_begin = masks_.size(),
                   .mask_stride = mask.rule == MaskRule::kFull ? 1 : rows};
  const int64_t page_bytes = KvPageBytes(args.kv.format);
  for (int32_t page = 0; page < num_logical; ++page) {
    if ((listed_[page] | fresh_[page]) == 0) continue;
    const int64_t offset = group.pages[page] * page_bytes;
    k_.push_back(static_cast<const char*>(args.kv.k) + offset);
    v_.push_back(static_cast<const char*>(args.kv.v) + offset);
    fresh_[page] = static_cast<uint64_t>(entry.num_pages++);  // from here on: index of the page
    if (mask.rule == MaskRule::kFull || bits) {
      masks_.insert(masks_.end(), entry.mask_stride, listed_[page]);
    } else {
      for (int32_t i = 0; i < rows; ++i) {
        masks_.push_back(listed_[page] &
                         LowBits(RuleEnd(mask, slots[i]) - int64_t{page} * kPageRows));
      }
    }
  }
  const int32_t words = (rows + 63) / 64;
  for (int32_t i = 0; bits && i < rows; ++i) {
    for (int32_t word = 0; word < words; ++word) {
      for (uint64_t rest = mask.bits[i * words + word]; rest != 0; rest &= rest - 1) {
        const int32_t j = word * 64 + __builtin_ctzll(rest);
        if (j >= rows) break;  // bits past the last row mean nothing
        const size_t page = fresh_[slots[j] / kPageRows];
        masks_[entry.mask_begin + page * rows + i] |= uint64_t{1} << (slots[j] % kPageRows);
      }
    }
  }
  groups_.push_back(entry);
}

void AttentionRunner::AddTiles(const ops::AttentionArgs& args, int num_threads) {
  const int32_t kv_heads = args.kv.format.kv_heads;
  const int32_t heads_per_kv = args.heads / kv_heads;
  int64_t num_tiles = 0;
  for (const GroupPages& entry : groups_) {
    const int64_t lanes = int64_t{entry.group->row_end - entry.group->row_begin} * heads_per_kv;
    num_tiles += kv_heads * ((lanes + kMaxLanes - 1) / kMaxLanes);
  }
  // Smaller tiles read K and V more often, so only where threads would otherwise be idle.
  const int64_t tile_lanes = num_tiles >= num_threads ? kMaxLanes : 4;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const ops::AttentionGroup& group = *groups_[g].group;
    const int64_t lanes = int64_t{group.row_end - group.row_begin} * heads_per_kv;
    for (int32_t head = 0; head < kv_heads; ++head) {
      for (int64_t lane = 0; lane < lanes; lane += tile_lanes) {
        tiles_.push_back({.group = static_cast<int32_t>(g),
                          .kv_head = head,
                          .lane_begin = lane,
                          .lane_end = std::min(lanes, lane + tile_lanes)});
      }
    }
  }
}

void AttentionRunner::RunTile(const ops::AttentionArgs& args, const OpKernels& kernels,
                              const Tile& tile, float* scratch) const {
  const ops::KvFormat& format = args.kv.format;
  const int32_t dim = format.head_dim;
  const int32_t heads_per_kv = args.heads / format.kv_heads;
  const int64_t q_stride = int64_t{args.heads + 2 * format.kv_heads} * dim;
  const GroupPages& entry = groups_[tile.group];
  float* const q = scratch + AttentionScratchFloats(PaddedDim(format));
  float* out[kMaxLanes];
  int32_t lane_mask[kMaxLanes];
  const int32_t lanes = static_cast<int32_t>(tile.lane_end - tile.lane_begin);
  for (int32_t i = 0; i < lanes; ++i) {
    const int64_t lane = tile.lane_begin + i;
    const int32_t row_in_group = static_cast<int32_t>(lane / heads_per_kv);
    const int64_t head = tile.kv_head * heads_per_kv + lane % heads_per_kv;
    const int64_t row = entry.group->row_begin + row_in_group;
    const float* from = args.qkv + row * q_stride + head * dim;
    for (int32_t d = 0; d < dim; ++d) q[i * dim + d] = from[d] * args.scale;
    out[i] = args.out + (row * args.heads + head) * dim;
    lane_mask[i] = entry.mask_stride == 1 ? 0 : row_in_group;
  }
  kernels.attention({.lanes = lanes,
                     .head_dim = dim,
                     .padded_dim = PaddedDim(format),
                     .kv_bits = 8 * KvElementBytes(format.type),
                     .q = q,
                     .num_pages = entry.num_pages,
                     .head_offset = tile.kv_head * KvHeadBytes(format),
                     .k = k_.data() + entry.page_begin,
                     .v = v_.data() + entry.page_begin,
                     .masks = masks_.data() + entry.mask_begin,
                     .mask_stride = entry.mask_stride,
                     .lane_mask = lane_mask,
                     .scratch = scratch,
                     .out = out});
}

void AttentionRunner::Run(const ops::AttentionArgs& args, const OpKernels& kernels,
                          ThreadPool& pool) {
  groups_.clear();
  k_.clear();
  v_.clear();
  masks_.clear();
  tiles_.clear();
  for (const ops::AttentionGroup& group : args.groups) {
    if (group.row_begin < group.row_end) AddGroup(args, group);
  }
  AddTiles(args, pool.size());
  const int32_t padded = PaddedDim(args.kv.format);
  const int64_t worker_floats = AttentionScratchFloats(padded) + int64_t{kMaxLanes} * padded;
  const size_t bytes = static_cast<size_t>(worker_floats) * sizeof(float) * pool.size();
  if (scratch_.bytes() < bytes) scratch_ = Buffer(bytes);
  pool.ParallelFor(static_cast<int64_t>(tiles_.size()), 1,
                   [&](int64_t begin, int64_t end, int worker) {
                     float* scratch = scratch_.as<float>() + worker * worker_floats;
                     for (int64_t i = begin; i < end; ++i) {
                       RunTile(args, kernels, tiles_[i], scratch);
                     }
                   });
}

}  // namespace tessera::cpu
