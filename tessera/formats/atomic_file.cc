#include "tessera/formats/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "tessera/formats/quote.h"

namespace tessera {
namespace {

Status WriteError(const std::string& path, std::string_view action, int error) {
  const std::string reason = std::generic_category().message(error);
  const std::string shown = Printable(path, 4096);
  if (error == ENOENT || error == ENOTDIR) {
    return NotFound("{}: cannot be {}: {}", shown, action, reason);
  }
  if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EMFILE || error == ENFILE) {
    return ResourceExhausted("{}: cannot be {}: {}", shown, action, reason);
  }
  return InvalidArgument("{}: cannot be {}: {}; expected a writable place", shown, action, reason);
}

// Whether `path` still names the file behind `fd`.
bool Names(const std::string& path, int fd) {
  struct stat by_name, by_fd;
  return ::lstat(path.c_str(), &by_name) == 0 && ::fstat(fd, &by_fd) == 0 &&
         by_name.st_dev == by_fd.st_dev && by_name.st_ino == by_fd.st_ino;
}

// Opens and locks the temporary file. One that a killed process of the same id left behind is
// taken over; one that another writer holds is refused. Returns the descriptor.
Result<int> OpenTemporary(const std::string& temporary) {
  for (int attempt = 0; attempt < 8; ++attempt) {
    const int fd =
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (fd < 0) return WriteError(temporary, "created", errno);
    struct stat info;
    const bool regular = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    if (!regular || ::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      ::close(fd);
      return InvalidArgument("{}: is {}; refused", Printable(temporary, 4096),
                             regular ? "being written by another writer" : "not a regular file");
    }
    // Between open and flock its writer may have renamed or removed it.
    if (Names(temporary, fd)) {
      if (::ftruncate(fd, 0) == 0) return fd;
      const int error = errno;
      ::close(fd);
      return WriteError(temporary, "truncated", error);
    }
    ::close(fd);
  }
  return InvalidArgument("{}: keeps being replaced by other writers", Printable(temporary, 4096));
}

}  // namespace

Result<std::unique_ptr<AtomicFile>> AtomicFile::Create(const std::string& path, int64_t size) {
  const std::string shown = Printable(path, 4096);
  if (size < 0) return InvalidArgument("{}: a file cannot have {} bytes", shown, size);
  if (path.empty() || path.find('\0') != std::string::npos) {
    return InvalidArgument("'{}': is not a path", shown);
  }
  struct stat info;
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return InvalidArgument("{}: is {}; expected a file name", shown,
                           S_ISDIR(info.st_mode) ? "a directory" : "not a regular file");
  }
  // The kernel answers a write beyond this limit with a signal that ends the process.
  struct rlimit limit;
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      static_cast<uint64_t>(size) > limit.rlim_cur) {
    return ResourceExhausted("{}: needs {} bytes, but the file size limit is {} (ulimit -f)", shown,
                             size, limit.rlim_cur);
  }
  std::string temporary = fmt::format("{}.tmp-{}", path, ::getpid());
  TESSERA_ASSIGN_OR_RETURN(const int fd, OpenTemporary(temporary));
  std::unique_ptr<AtomicFile> file(new AtomicFile(path, std::move(temporary), fd, size));
  TESSERA_RETURN_IF_ERROR(file->Reserve());
  return file;
}

Status AtomicFile::Reserve() {
  if (size_ == 0) return OkStatus();
  struct statvfs disk;
  const bool known = ::fstatvfs(fd_, &disk) == 0;
  const int64_t available = known ? static_cast<int64_t>(disk.f_bavail * disk.f_frsize) : 0;
  // posix_fallocate may fill the disk before it fails; asking first leaves other programs their
  // space. It stays the check that counts.
  int error = known && available < size_ ? ENOSPC : 0;
  while (error == 0) {
    error = ::posix_fallocate(fd_, 0, size_);
    if (error != EINTR) break;
    error = 0;
  }
  if (error == 0) return OkStatus();
  if (error == ENOSPC && known) {
    return Fail(ResourceExhausted("{}: needs {} bytes, but the disk has {} free",
                                  Printable(path_, 4096), size_, available));
  }
  return Fail(WriteError(path_, fmt::format("given {} bytes of disk", size_), error));
}

AtomicFile::~AtomicFile() { (void)Fail(OkStatus()); }

Status AtomicFile::Fail(Status status) {
  if (fd_ >= 0) {
    if (Names(temporary_, fd_)) ::unlink(temporary_.c_str());
    ::close(fd_);
    fd_ = -1;
  }
  return status;
}

Status AtomicFile::Append(std::span<const std::byte> bytes) {
  if (fd_ < 0) return InvalidArgument("{}: is no longer open", Printable(path_, 4096));
  if (bytes.size() > static_cast<uint64_t>(size_ - written_)) {
    return Fail(InvalidArgument("{}: {} bytes after {}, but only {} were announced",
                                Printable(path_, 4096), bytes.size(), written_, size_));
  }
  while (!bytes.empty()) {
    const size_t chunk = std::min(bytes.size(), size_t{1} << 30);
    const ssize_t count = ::write(fd_, bytes.data(), chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Fail(WriteError(path_, "written", errno));
    written_ += count;
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return OkStatus();
}

Status AtomicFile::Sync() {
  if (fd_ < 0) return InvalidArgument("{}: is no longer open", Printable(path_, 4096));
  if (written_ != size_) {
    return Fail(InvalidArgument("{}: {} bytes were written, but {} announced",
                                Printable(path_, 4096), written_, size_));
  }
  if (::fsync(fd_) != 0) return Fail(WriteError(path_, "synced to disk", errno));
  synced_ = true;
  return OkStatus();
}

Status AtomicFile::Rename() {
  if (fd_ < 0) return InvalidArgument("{}: is no longer open", Printable(path_, 4096));
  TESSERA_CHECK(synced_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return Fail(WriteError(path_, "renamed into place", errno));
  }
  ::close(fd_);
  fd_ = -1;
  // The new name itself must survive a crash. Some file systems cannot sync a folder; the data is
  // safe then, so that is no failure.
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    ::fsync(fd);
    ::close(fd);
  }
  return OkStatus();
}

Status AtomicFile::Commit() {
  TESSERA_RETURN_IF_ERROR(Sync());
  return Rename();
}

Status WriteFileAtomically(const std::string& path, std::string_view text) {
  TESSERA_ASSIGN_OR_RETURN(auto file, AtomicFile::Create(path, static_cast<int64_t>(text.size())));
  TESSERA_RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(text))));
  return file->Commit();
}

}  // namespace tessera
