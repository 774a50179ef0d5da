// A set of canvas positions, kept as ascending ranges that neither overlap nor touch, so that equal
// sets are equal lists and a set can be handed to attention as its key list.
#pragma once

#include <cstdint>
#include <vector>

#include "tessera/decode/strategy.h"

namespace tessera::decode {

class RowSet {
 public:
  RowSet() = default;
  RowSet(int32_t begin, int32_t end) { Add(begin, end); }

  // Adds [begin, end); nothing when it is empty. Cheapest in ascending order.
  void Add(int32_t begin, int32_t end);
  void Add(int32_t position) { Add(position, position + 1); }
  void Add(const RowSet& other);

  RowSet Intersect(const RowSet& other) const;
  RowSet Minus(const RowSet& other) const;

  bool Contains(int32_t position) const;
  bool empty() const { return ranges_.empty(); }
  int32_t size() const;
  int32_t begin() const { return ranges_.empty() ? 0 : ranges_.front().begin; }
  int32_t end() const { return ranges_.empty() ? 0 : ranges_.back().end; }
  const std::vector<SlotRange>& ranges() const { return ranges_; }
  std::vector<int32_t> positions() const;

  bool operator==(const RowSet&) const = default;

 private:
  std::vector<SlotRange> ranges_;
};

}  // namespace tessera::decode
