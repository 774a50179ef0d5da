// The rows of a forward as the kernels read them (DeviceStep): one block of host memory, which one
// copy brings to the device.
//
// Sizes are rounded up so that many forwards have the same layout and the same launch bounds, and
// with them one graph: rows and outputs as packed activations pad them, tiles, keys and the rows of
// small groups to powers of two. The room for groups, pages, ranges and bits never shrinks, so that
// it soon stays the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/ops/device.h"

namespace tessera::cuda {

// Tokens, positions and out_rows may be left out where no kernel reads them.
struct StepInput {
  std::span<const ops::TokenId> tokens = {};
  std::span<const int32_t> positions = {};
  std::span<const int32_t> slots;  // [rows]
  std::span<const ops::AttentionGroup> groups;
  std::span<const int32_t> out_rows = {};
};

class StepTable {
 public:
  // Takes the step in; the table keeps nothing of the input.
  void Set(const StepInput& input);

  size_t bytes() const;
  // Writes the block, bytes() long, all of it.
  void Write(void* host) const;
  // The step whose block was copied to `device`, aligned to 16 bytes.
  DeviceStep At(const void* device) const;
  int32_t padded_outputs() const { return static_cast<int32_t>(out_rows_.size()); }

 private:
  int32_t max_keys_ = 0, max_group_rows_ = 0;
  std::vector<int32_t> counts_, tokens_, slots_, positions_, row_group_, pages_, out_rows_;
  std::vector<DeviceGroup> groups_;
  std::vector<DeviceTile> tiles_;
  std::vector<ops::SlotRange> ranges_;
  std::vector<uint64_t> bits_;
};

}  // namespace tessera::cuda
