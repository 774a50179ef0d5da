// Memory of the GPU and of the host beside it, streams and events, each owned by an object. Free of
// CUDA types, so that plain C++ can use it.
//
// Everything belongs to the GPU that is current when it is made (SetCurrentGpu), and is given back
// there. Giving memory back waits for the GPU, as cudaFree does, so that no kernel of any stream
// still uses what the next owner gets: keep blocks that a forward needs, and let them grow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "tessera/base/status.h"

struct CUstream_st;
struct CUevent_st;

namespace tessera::cuda {

// The current GPU of the calling thread.
Status SetCurrentGpu(int32_t ordinal);

// Free and total bytes of the current GPU; blocks kept for reuse count as free.
struct MemoryUse {
  int64_t total = 0, free = 0;
};
Result<MemoryUse> CurrentMemoryUse();

// Bytes that a block for `bytes` takes: powers of two from 512 up to 2 MiB, then whole 2 MiB, the
// pages of the driver.
int64_t BlockBytes(int64_t bytes);

// Blocks that were given back, by size. Holds no memory itself: it is the bookkeeping of the pools.
class FreeBlocks {
 public:
  // `limit`: bytes it keeps at most.
  explicit FreeBlocks(int64_t limit) : limit_(limit) {}
  // A block of BlockBytes(bytes), or, of the large ones, the smallest that wastes at most a quarter
  // of its own size. With the size it has.
  std::optional<std::pair<void*, int64_t>> Take(int64_t bytes);
  // False: it would exceed the limit, the caller frees the block.
  bool Give(void* block, int64_t block_bytes);
  // Any block, until there is none.
  std::optional<void*> TakeAny();
  int64_t bytes() const { return bytes_; }

 private:
  const int64_t limit_;
  int64_t bytes_ = 0;
  std::multimap<int64_t, void*> blocks_;
};

// A block of device memory, aligned to 512 bytes at least; its contents are undefined.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  // `what` names the block in the error for lack of memory. 0 bytes are legal.
  static Result<DeviceMemory> Create(size_t bytes, std::string_view what);
  DeviceMemory(DeviceMemory&& other) noexcept { Swap(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  ~DeviceMemory();

  // At least `bytes`. When that takes a new block, contents and address are lost; graphs that hold
  // the address must not be launched again. Asks for an eighth more, so that growing ends soon.
  Status Grow(size_t bytes, std::string_view what);

  void* data() const { return data_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }  // usable, at least what was asked for

 private:
  void Swap(DeviceMemory& other) noexcept;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  int32_t ordinal_ = 0;
};

// Host memory that the GPU copies from and to without staging, and can do so asynchronously.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  static Result<PinnedMemory> Create(size_t bytes, std::string_view what);
  PinnedMemory(PinnedMemory&& other) noexcept { Swap(other); }
  PinnedMemory& operator=(PinnedMemory&& other) noexcept;
  ~PinnedMemory();

  // As DeviceMemory::Grow.
  Status Grow(size_t bytes, std::string_view what);

  void* data() const { return data_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void Swap(PinnedMemory& other) noexcept;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// A stream that does not wait for the default stream.
class StreamHandle {
 public:
  StreamHandle() = default;
  static Result<StreamHandle> Create();
  StreamHandle(StreamHandle&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  StreamHandle& operator=(StreamHandle&& other) noexcept {
    std::swap(stream_, other.stream_);
    return *this;
  }
  ~StreamHandle();

  CUstream_st* get() const { return stream_; }

 private:
  CUstream_st* stream_ = nullptr;
};

// A point of a stream. `timed`: for MillisecondsSince, which costs a little on every Record.
class EventHandle {
 public:
  EventHandle() = default;
  static Result<EventHandle> Create(bool timed = false);
  EventHandle(EventHandle&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  EventHandle& operator=(EventHandle&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~EventHandle();

  CUevent_st* get() const { return event_; }
  Status Record(CUstream_st* stream) const;
  Status Wait() const;                         // of the host, until the point is reached
  Status HoldBack(CUstream_st* stream) const;  // what follows on `stream` waits for the point
  Result<float> MillisecondsSince(const EventHandle& earlier) const;  // after both were reached

 private:
  CUevent_st* event_ = nullptr;
};

// --- Work on a stream
// ------------------------------------------------------------------------------

// Copies of `bytes`; asynchronous when the host memory is pinned (it must not change before the
// copy was done), else the call returns after the host memory was read or staged.
Status CopyToGpu(CUstream_st* stream, void* to, const void* host, size_t bytes);
Status CopyToHost(CUstream_st* stream, void* host, const void* from, size_t bytes);
Status CopyOnGpu(CUstream_st* stream, void* to, const void* from, size_t bytes);
Status Zero(CUstream_st* stream, void* memory, size_t bytes);
// Waits until everything on the stream was done; returns the errors of kernels.
Status Synchronize(CUstream_st* stream);

// Device memory that holds `values`, which may be freed afterwards.
template <typename T>
Result<DeviceMemory> UploadedCopy(CUstream_st* stream, std::span<const T> values,
                                  std::string_view what) {
  TESSERA_ASSIGN_OR_RETURN(DeviceMemory memory, DeviceMemory::Create(values.size_bytes(), what));
  TESSERA_RETURN_IF_ERROR(CopyToGpu(stream, memory.data(), values.data(), values.size_bytes()));
  TESSERA_RETURN_IF_ERROR(Synchronize(stream));
  return Result<DeviceMemory>(std::move(memory));
}

}  // namespace tessera::cuda
