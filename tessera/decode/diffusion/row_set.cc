#include "tessera/decode/diffusion/row_set.h"

#include <algorithm>

namespace tessera::decode {

void RowSet::Add(int32_t begin, int32_t end) {
  if (begin >= end) return;
  // The first range that the new one touches, and the first one past it.
  auto first = ranges_.end();
  while (first != ranges_.begin() && (first - 1)->end >= begin) --first;
  auto last = first;
  while (last != ranges_.end() && last->begin <= end) {
    begin = std::min(begin, last->begin);
    end = std::max(end, last->end);
    ++last;
  }
  if (first == last) {
    ranges_.insert(first, {begin, end});
    return;
  }
  *first = {begin, end};
  ranges_.erase(first + 1, last);
}

void RowSet::Add(const RowSet& other) {
  for (const SlotRange& range : other.ranges_) Add(range.begin, range.end);
}

RowSet RowSet::Intersect(const RowSet& other) const {
  RowSet result;
  size_t a = 0, b = 0;
  while (a < ranges_.size() && b < other.ranges_.size()) {
    const SlotRange &x = ranges_[a], &y = other.ranges_[b];
    result.Add(std::max(x.begin, y.begin), std::min(x.end, y.end));
    if (x.end < y.end) {
      ++a;
    } else {
      ++b;
    }
  }
  return result;
}

RowSet RowSet::Minus(const RowSet& other) const {
  RowSet result;
  size_t b = 0;
  for (const SlotRange& range : ranges_) {
    int32_t begin = range.begin;
    while (b < other.ranges_.size() && other.ranges_[b].end <= begin) ++b;
    for (size_t i = b; i < other.ranges_.size() && other.ranges_[i].begin < range.end; ++i) {
      result.Add(begin, other.ranges_[i].begin);
      begin = other.ranges_[i].end;
    }
    result.Add(begin, range.end);
  }
  return result;
}

bool RowSet::Contains(int32_t position) const {
  const auto it = std::upper_bound(ranges_.begin(), ranges_.end(), position,
                                   [](int32_t p, const SlotRange& r) { return p < r.begin; });
  return it != ranges_.begin() && position < (it - 1)->end;
}

int32_t RowSet::size() const {
  int32_t size = 0;
  for (const SlotRange& range : ranges_) size += range.end - range.begin;
  return size;
}

std::vector<int32_t> RowSet::positions() const {
  std::vector<int32_t> positions;
  for (const SlotRange& range : ranges_) {
    for (int32_t p = range.begin; p < range.end; ++p) positions.push_back(p);
  }
  return positions;
}

}  // namespace tessera::decode
