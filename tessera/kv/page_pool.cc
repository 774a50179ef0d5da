#include "tessera/kv/page_pool.h"

namespace tessera::kv {

PagePool::PagePool(int32_t capacity) : references_(static_cast<size_t>(capacity), 0) {
  free_.reserve(references_.size());
  for (int32_t page = capacity - 1; page >= 0; --page) free_.push_back(page);
}

Result<int32_t> PagePool::Allocate() {
  if (free_.empty()) {
    return ResourceExhausted("all {} K/V pages are in use; allow more context or fewer sequences",
                             capacity());
  }
  const int32_t page = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(page)] = 1;
  return page;
}

void PagePool::AddReference(int32_t page) {
  TESSERA_CHECK(references(page) > 0);
  ++references_[static_cast<size_t>(page)];
}

void PagePool::Release(int32_t page) {
  TESSERA_CHECK(references(page) > 0);
  if (--references_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

}  // namespace tessera::kv
