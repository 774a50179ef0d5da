// A folder that appears under its name complete or not at all.
//
// Files are written into folder(), which lies beside `path` as `path.tmp-<pid>`. Commit() renames
// it; destruction before that (an error, a cancelled command) removes it with all it holds.
#pragma once

#include <memory>
#include <string>

#include "tessera/base/status.h"

namespace tessera {

class AtomicFolder {
 public:
  // Refuses a path that exists: nothing is ever overwritten. Folders above it are made.
  static Result<std::unique_ptr<AtomicFolder>> Create(const std::string& path);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::string& folder() const { return temporary_; }
  Status Commit();

 private:
  AtomicFolder(std::string path, std::string temporary)
      : path_(std::move(path)), temporary_(std::move(temporary)) {}

  std::string path_;
  std::string temporary_;  // empty once renamed
};

}  // namespace tessera
