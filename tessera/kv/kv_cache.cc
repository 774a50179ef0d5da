#include "tessera/kv/kv_cache.h"

#include <cstddef>

namespace tessera::kv {

Status KvCache::CheckType(const ops::Device& device, ops::KvType type) {
  if (device.HoldsKv(type)) return OkStatus();
  return InvalidArgument(
      "keys and values as {}: not on device {}; accepted there: auto, f32, bf16 (int8: device cpu)",
      ops::Name(type), device.name());
}

Result<std::unique_ptr<KvCache>> KvCache::Create(ops::Device& device, const ops::KvFormat& format,
                                                 int32_t num_layers, int32_t num_pages) {
  TESSERA_RETURN_IF_ERROR(CheckType(device, format.type));
  const int64_t page_bytes = device.KvPageBytes(format);
  std::unique_ptr<KvCache> cache(new KvCache(format, num_layers, num_pages, page_bytes));
  const size_t bytes = static_cast<size_t>(2 * num_layers * page_bytes * num_pages);
  TESSERA_ASSIGN_OR_RETURN(cache->memory_, device.Allocate(bytes));
  return cache;
}

ops::KvLayer KvCache::layer(int32_t index) const {
  const int64_t plane = page_bytes_ * pool_.capacity();
  std::byte* base = static_cast<std::byte*>(memory_->data) + 2 * index * plane;
  return {.format = format_, .k = base, .v = base + plane};
}

int64_t KvCache::bytes_per_slot() const { return 2 * num_layers_ * page_bytes_ / ops::kPageRows; }

Status PageTable::Reserve(int32_t num_slots) {
  const size_t wanted = static_cast<size_t>((num_slots + ops::kPageRows - 1) / ops::kPageRows);
  const int32_t before = capacity();
  while (pages_.size() < wanted) {
    Result<int32_t> page = pool_->Allocate();
    if (!page.ok()) {
      Truncate(before);
      return page.status();
    }
    pages_.push_back(*page);
  }
  return OkStatus();
}

void PageTable::Truncate(int32_t num_slots) {
  const size_t kept = static_cast<size_t>((num_slots + ops::kPageRows - 1) / ops::kPageRows);
  while (pages_.size() > kept) {
    pool_->Release(pages_.back());
    pages_.pop_back();
  }
}

PageTable PageTable::ForkPrefix(int32_t num_slots) const {
  PageTable fork(*pool_);
  for (int32_t i = 0; i < num_slots / ops::kPageRows && i < static_cast<int32_t>(pages_.size());
       ++i) {
    pool_->AddReference(pages_[static_cast<size_t>(i)]);
    fork.pages_.push_back(pages_[static_cast<size_t>(i)]);
  }
  return fork;
}

}  // namespace tessera::kv
