#include "tessera/formats/atomic_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "tessera/formats/quote.h"

namespace tessera {

namespace fs = std::filesystem;

Result<std::unique_ptr<AtomicFolder>> AtomicFolder::Create(const std::string& path) {
  std::string name = path;
  while (name.size() > 1 && name.ends_with('/')) name.pop_back();
  const std::string shown = Printable(name, 4096);
  std::error_code error;
  if (name.empty() || name.find('\0') != std::string::npos) {
    return InvalidArgument("'{}': is not a path", shown);
  }
  if (fs::exists(fs::symlink_status(name, error))) {
    return InvalidArgument("{}: exists already; name a folder that does not", shown);
  }
  error.clear();  // that there is no such path
  const fs::path parent = fs::path(name).parent_path();
  if (!parent.empty()) fs::create_directories(parent, error);
  const std::string temporary = fmt::format("{}.tmp-{}", name, ::getpid());
  if (error || !fs::create_directory(temporary, error)) {
    const std::string reason = error ? error.message() : "its temporary name is taken";
    return NotFound("{}: the folder cannot be created: {}", shown, reason);
  }
  return std::unique_ptr<AtomicFolder>(new AtomicFolder(std::move(name), temporary));
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

Status AtomicFolder::Commit() {
  // Unlike rename(2), this refuses an empty folder that appeared under the name meanwhile.
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0) {
    const int reason = errno;
    // Some file systems know no such flag.
    std::error_code error;
    if (reason != EINVAL || fs::exists(fs::symlink_status(path_, error))) {
      return InvalidArgument("{}: cannot be renamed into place: {}", Printable(path_, 4096),
                             std::generic_category().message(reason));
    }
    fs::rename(temporary_, path_, error);
    if (error) {
      return InvalidArgument("{}: cannot be renamed into place: {}", Printable(path_, 4096),
                             error.message());
    }
  }
  temporary_.clear();
  return OkStatus();
}

}  // namespace tessera
