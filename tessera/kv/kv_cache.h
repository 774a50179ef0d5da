// All K/V memory of one model on one device, and the page tables that map slots to it.
//
// Slot s of a sequence is row s % kPageRows of page pages()[s / kPageRows]. The cache knows
// nothing of validity: which slots hold useful rows is the strategy's knowledge, and every row is
// overwritten in place. Memory is reserved up front and touched page by page as slots are used.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/kv/page_pool.h"
#include "tessera/ops/device.h"

namespace tessera::kv {

class KvCache {
 public:
  // Refuses what the device cannot hold.
  static Status CheckType(const ops::Device& device, ops::KvType type);
  static Result<std::unique_ptr<KvCache>> Create(ops::Device& device, const ops::KvFormat& format,
                                                 int32_t num_layers, int32_t num_pages);

  ops::KvLayer layer(int32_t index) const;
  int32_t num_layers() const { return num_layers_; }
  PagePool& pool() { return pool_; }
  int64_t bytes_per_slot() const;  // K and V of all layers

 private:
  KvCache(const ops::KvFormat& format, int32_t num_layers, int32_t num_pages, int64_t page_bytes)
      : format_(format), num_layers_(num_layers), page_bytes_(page_bytes), pool_(num_pages) {}

  ops::KvFormat format_;
  int32_t num_layers_;
  int64_t page_bytes_;
  PagePool pool_;
  std::unique_ptr<ops::DeviceBuffer> memory_;  // [layers][k, v][pages][page_bytes]
};

// The slots [0, capacity) of one sequence. Returns its pages to the pool when destroyed.
class PageTable {
 public:
  explicit PageTable(PagePool& pool) : pool_(&pool) {}
  ~PageTable() { Truncate(0); }
  PageTable(PageTable&& other) noexcept : pool_(other.pool_), pages_(std::move(other.pages_)) {
    other.pages_.clear();
  }
  PageTable(const PageTable&) = delete;
  PageTable& operator=(const PageTable&) = delete;
  PageTable& operator=(PageTable&&) = delete;

  // Makes slots [0, num_slots) usable; keeps what is there. On failure nothing changes.
  Status Reserve(int32_t num_slots);
  // Gives back pages that hold no slot below num_slots.
  void Truncate(int32_t num_slots);
  // A table that shares the whole pages below num_slots and owns none of the rest; rows of shared
  // pages must not be overwritten by either side.
  PageTable ForkPrefix(int32_t num_slots) const;

  std::span<const int32_t> pages() const { return pages_; }
  int32_t capacity() const { return static_cast<int32_t>(pages_.size()) * ops::kPageRows; }

 private:
  PagePool* pool_;
  std::vector<int32_t> pages_;
};

}  // namespace tessera::kv
