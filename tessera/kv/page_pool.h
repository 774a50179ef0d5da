// Free list of K/V pages. Owns page ids, not memory; one pool per model, used by one thread.
//
// Invariant: free + in use = capacity, after any sequence of calls.
#pragma once

#include <cstdint>
#include <vector>

#include "tessera/base/status.h"

namespace tessera::kv {

class PagePool {
 public:
  explicit PagePool(int32_t capacity);

  Result<int32_t> Allocate();       // kResourceExhausted when no page is free
  void AddReference(int32_t page);  // shared by a fork
  void Release(int32_t page);       // frees the page with its last reference

  int32_t capacity() const { return static_cast<int32_t>(references_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t references(int32_t page) const { return references_[static_cast<size_t>(page)]; }

 private:
  std::vector<int32_t> references_;  // per page; 0 = free
  std::vector<int32_t> free_;
};

}  // namespace tessera::kv
