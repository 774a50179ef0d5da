// A file that appears under its name complete or not at all.
//
// Bytes go to `path.tmp-<pid>`, whose disk space is reserved when it is created, so a full disk is
// found before the work begins. Commit() makes it durable and renames it over `path`; an error, or
// destruction before Commit() (a cancelled command), removes it and leaves `path` as it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tessera/base/status.h"

namespace tessera {

class AtomicFile {
 public:
  // `size` is the exact number of bytes that will be appended.
  static Result<std::unique_ptr<AtomicFile>> Create(const std::string& path, int64_t size);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  int64_t written() const { return written_; }

  Status Append(std::span<const std::byte> bytes);
  // Sync() then Rename(). Several files that belong together are all synced before the first is
  // renamed, so that a full disk or a crash while syncing leaves none of them.
  Status Commit();
  Status Sync();
  Status Rename();

 private:
  AtomicFile(std::string path, std::string temporary, int fd, int64_t size)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd), size_(size) {}
  Status Reserve();
  Status Fail(Status status);  // removes the temporary file

  std::string path_;
  std::string temporary_;
  int fd_;  // -1 once renamed or removed
  int64_t size_;
  int64_t written_ = 0;
  bool synced_ = false;
};

Status WriteFileAtomically(const std::string& path, std::string_view text);

}  // namespace tessera
