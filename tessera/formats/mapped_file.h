// A regular file mapped read-only into memory for as long as the object lives.
//
// Refuses what cannot be mapped (missing, directory, pipe or device, empty, unreadable) with one
// line naming the path. The file must not be shortened while mapped: the operating system then
// answers reads beyond the new end with SIGBUS, which no reader of mapped files can catch cleanly.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tessera/base/status.h"

namespace tessera {

enum class MapAdvice {
  kNormal,
  kSequential,  // read ahead aggressively
  kWillNeed,    // start reading now
  kPopulate,    // read and map all pages before returning: one call instead of a fault per page
  kDontNeed,    // drop the pages; a later read fetches them again from the file
};

class MappedFile {
 public:
  static Result<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  // Hints only: failures and ranges outside the map are ignored. kDontNeed drops only pages that
  // lie wholly inside the range, the others round outward.
  void Advise(MapAdvice advice) const { Advise({data_, size_}, advice); }
  void Advise(std::span<const std::byte> range, MapAdvice advice) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const std::byte* data_;
  size_t size_;
};

}  // namespace tessera
