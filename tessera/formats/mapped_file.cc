#include "tessera/formats/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "tessera/formats/quote.h"

namespace tessera {
namespace {

// MADV_POPULATE_READ of Linux 5.14, which older headers lack; older kernels refuse it, harmlessly.
constexpr int kPopulateRead = 22;

int AdviceFlag(MapAdvice advice) {
  switch (advice) {
    case MapAdvice::kNormal: return MADV_NORMAL;
    case MapAdvice::kSequential: return MADV_SEQUENTIAL;
    case MapAdvice::kWillNeed: return MADV_WILLNEED;
    case MapAdvice::kPopulate: return kPopulateRead;
    case MapAdvice::kDontNeed: return MADV_DONTNEED;
  }
  return MADV_NORMAL;
}

Status OpenError(const std::string& path, int error) {
  const std::string reason = std::generic_category().message(error);
  if (error == ENOENT || error == ENOTDIR) {
    return NotFound("{}: cannot be opened: {}", Printable(path, 4096), reason);
  }
  if (error == EMFILE || error == ENFILE || error == ENOMEM) {
    return ResourceExhausted("{}: cannot be opened: {}", Printable(path, 4096), reason);
  }
  return InvalidArgument("{}: cannot be opened: {}; expected a readable file",
                         Printable(path, 4096), reason);
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

Result<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    return InvalidArgument("{}: a path cannot hold a zero byte", Printable(path, 4096));
  }
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return OpenError(path, errno);
  struct stat info;
  if (::fstat(file.fd, &info) != 0) return OpenError(path, errno);
  if (S_ISDIR(info.st_mode)) {
    return InvalidArgument("{}: is a directory; expected a file", Printable(path, 4096));
  }
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument("{}: is not a regular file; pipes and devices cannot be mapped",
                           Printable(path, 4096));
  }
  if (info.st_size == 0) return DataLoss("{}: is empty", Printable(path, 4096));
  const size_t size = static_cast<size_t>(info.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) {
    const std::string reason = std::generic_category().message(errno);
    return ResourceExhausted("{}: {} bytes cannot be mapped: {}", Printable(path, 4096), size,
                             reason);
  }
  return std::unique_ptr<MappedFile>(
      new MappedFile(path, static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() { ::munmap(const_cast<std::byte*>(data_), size_); }

void MappedFile::Advise(std::span<const std::byte> range, MapAdvice advice) const {
  const uintptr_t base = reinterpret_cast<uintptr_t>(data_);
  uintptr_t begin = reinterpret_cast<uintptr_t>(range.data());
  uintptr_t end = begin + range.size();
  if (range.empty() || begin < base || end > base + size_) return;
  const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  if (advice == MapAdvice::kDontNeed) {
    begin = (begin + page - 1) / page * page;
    // The file's last page holds nothing else, so it may go with the last byte.
    end = end == base + size_ ? end : end / page * page;
  } else {
    begin = begin / page * page;
  }
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, AdviceFlag(advice));
}

}  // namespace tessera
