// A forward's attention as data, and its execution on any device.
#pragma once

#include <string>
#include <vector>

#include "tests/ops/harness.h"

namespace tessera::ops_test {

struct Sequence {
  uint64_t id = 0;                  // keys the random values of its rows
  int32_t context = 0;              // slots [0, context) were stored by an earlier forward
  std::vector<int32_t> slots = {};  // of the rows of this forward
  ops::MaskRule rule = ops::MaskRule::kFull;
  int32_t block = 0;
  std::vector<ops::SlotRange> visible = {};
  std::vector<uint64_t> bits = {};
};

struct Scenario {
  std::string name = {};
  int32_t heads = 1, kv_heads = 1, head_dim = 8;
  int32_t rotary_dim = 8;
  bool norms = false;
  ops::KvType type = ops::KvType::kF32;
  std::vector<Sequence> sequences = {};
};

// [begin, end)
std::vector<int32_t> Slots(int32_t begin, int32_t end);

// Owns the pages of a scenario on one device. Every page starts as NaN, and sequences get shuffled
// page tables, so a read of a slot that was never written shows.
class AttentionRun {
 public:
  AttentionRun(ops::Device& device, const Scenario& scenario);

  // Stores the context rows, in chunks of `chunk` rows.
  void StoreContext(int32_t chunk = 1 << 20);
  // RotateAndStore and Attention of the fresh rows; returns [rows, heads * head_dim].
  std::vector<float> Forward(size_t misalign = 0);
  // Q after the last Forward: [rows, heads * head_dim].
  const std::vector<float>& q() const { return q_; }

  void Copy(size_t sequence, const std::vector<std::pair<int32_t, int32_t>>& moves);
  ops::KvLayer kv() const;

 private:
  struct Rows {
    std::vector<int32_t> slots;
    std::vector<ops::AttentionGroup> groups;
    std::vector<float> qkv, cos_sin;
  };
  void Append(Rows& rows, const Sequence& sequence, const std::vector<int32_t>& pages,
              const std::vector<int32_t>& slots) const;
  void Store(Rows& rows, float* qkv);

  ops::Device& device_;
  Scenario scenario_;
  std::vector<std::vector<int32_t>> pages_;
  std::unique_ptr<ops::DeviceBuffer> k_, v_;
  std::vector<float> q_norm_, k_norm_, q_;
};

}  // namespace tessera::ops_test
