// Which keys a row may attend to.
//
// K/V rows live in slots of a sequence's page table. Every fresh row is written to its slot before
// attention, so "cached" and "fresh" keys are read the same way and a window forward over
// up-to-date rows is bit-equal to a full forward. For diffusion, slot = canvas position; drafts
// that may be rejected use slots past the committed end.
#pragma once

#include <cstdint>
#include <span>

namespace tessera::ops {

enum class MaskRule : uint8_t {
  kFull,         // every listed slot
  kCausal,       // listed slots s with s <= slot of the row
  kBlockCausal,  // listed slots s with floor(s / block) <= floor(slot / block)
  kBits,         // every listed slot, plus the fresh rows of the group whose bit is set
};

// Slots [begin, end). Lists are ascending and disjoint.
struct SlotRange {
  int32_t begin = 0;
  int32_t end = 0;
  bool operator==(const SlotRange&) const = default;
};

// A run of rows of one forward that share a key list and a rule.
struct MaskSpec {
  MaskRule rule = MaskRule::kFull;
  int32_t block = 0;                 // kBlockCausal only: positions per block, > 0
  std::span<const SlotRange> slots;  // visible slots before the rule is applied
  std::span<const uint64_t> bits;    // kBits only: [rows, (rows + 63) / 64]; bit j = fresh row j
};

}  // namespace tessera::ops
