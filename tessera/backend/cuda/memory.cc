#include "tessera/backend/cuda/memory.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <string>

#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {
namespace {

constexpr int64_t kPage = int64_t{2} << 20;
constexpr int64_t kSmallestBlock = 512;
constexpr int64_t kKeptBytes = int64_t{1} << 30;  // of freed blocks, per GPU
constexpr int32_t kMostGpus = 64;                 // of one machine, as in the driver

double GiB(double bytes) { return bytes / (1 << 30); }

// The blocks of one GPU. Lives as long as the program: memory may be given back by the destructors
// of static objects.
class Pool {
 public:
  static Pool& Of(int32_t ordinal) {
    static auto* pools = new std::array<Pool, kMostGpus>;
    return (*pools)[static_cast<size_t>(ordinal)];
  }

  Result<std::pair<void*, int64_t>> Take(int64_t bytes, std::string_view what) {
    const std::lock_guard lock(mutex_);
    if (const auto block = free_.Take(bytes)) return *block;
    const int64_t size = BlockBytes(bytes);
    void* memory = nullptr;
    cudaError_t error = cudaMalloc(&memory, static_cast<size_t>(size));
    if (error == cudaErrorMemoryAllocation && free_.bytes() > 0) {
      cudaGetLastError();
      while (const auto block = free_.TakeAny()) cudaFree(*block);
      error = cudaMalloc(&memory, static_cast<size_t>(size));
    }
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      size_t unused = 0, total = 0;
      cudaMemGetInfo(&unused, &total);
      return ResourceExhausted("GPU memory: {} needs {:.2f} GiB; {:.2f} of {:.2f} GiB are free",
                               what, GiB(static_cast<double>(size)),
                               GiB(static_cast<double>(unused)), GiB(static_cast<double>(total)));
    }
    TESSERA_RETURN_IF_ERROR(FromCuda(error, "cudaMalloc"));
    return std::pair(memory, size);
  }

  void Give(void* block, int64_t block_bytes) {
    const std::lock_guard lock(mutex_);
    if (!free_.Give(block, block_bytes)) cudaFree(block);
  }

  int64_t kept() {
    const std::lock_guard lock(mutex_);
    return free_.bytes();
  }

 private:
  std::mutex mutex_;
  FreeBlocks free_{kKeptBytes};
};

}  // namespace

Status SetCurrentGpu(int32_t ordinal) {
  TESSERA_CUDA_RETURN(cudaSetDevice(ordinal));
  return OkStatus();
}

Result<MemoryUse> CurrentMemoryUse() {
  size_t unused = 0, total = 0;
  TESSERA_CUDA_RETURN(cudaMemGetInfo(&unused, &total));
  int ordinal = 0;
  TESSERA_CUDA_RETURN(cudaGetDevice(&ordinal));
  return MemoryUse{static_cast<int64_t>(total),
                   static_cast<int64_t>(unused) + Pool::Of(ordinal).kept()};
}

int64_t BlockBytes(int64_t bytes) {
  if (bytes > kPage) return (bytes + kPage - 1) / kPage * kPage;
  return static_cast<int64_t>(
      std::bit_ceil(static_cast<uint64_t>(std::max(bytes, kSmallestBlock))));
}

std::optional<std::pair<void*, int64_t>> FreeBlocks::Take(int64_t bytes) {
  const int64_t wanted = BlockBytes(bytes);
  const auto found = blocks_.lower_bound(wanted);
  if (found == blocks_.end()) return std::nullopt;
  const auto [size, block] = *found;
  if (size != wanted && (wanted < kPage || size - wanted > size / 4)) return std::nullopt;
  blocks_.erase(found);
  bytes_ -= size;
  return std::pair(block, size);
}

bool FreeBlocks::Give(void* block, int64_t block_bytes) {
  if (bytes_ + block_bytes > limit_) return false;
  blocks_.emplace(block_bytes, block);
  bytes_ += block_bytes;
  return true;
}

std::optional<void*> FreeBlocks::TakeAny() {
  if (blocks_.empty()) return std::nullopt;
  const auto [size, block] = *blocks_.begin();
  blocks_.erase(blocks_.begin());
  bytes_ -= size;
  return block;
}

// --- Memory
// ----------------------------------------------------------------------------------------

Result<DeviceMemory> DeviceMemory::Create(size_t bytes, std::string_view what) {
  int ordinal = 0;
  TESSERA_CUDA_RETURN(cudaGetDevice(&ordinal));
  TESSERA_ASSIGN_OR_RETURN(const auto block,
                           Pool::Of(ordinal).Take(static_cast<int64_t>(bytes), what));
  DeviceMemory memory;
  memory.data_ = block.first;
  memory.bytes_ = static_cast<size_t>(block.second);
  memory.ordinal_ = ordinal;
  return memory;
}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  DeviceMemory old(std::move(*this));
  Swap(other);
  return *this;
}

DeviceMemory::~DeviceMemory() {
  if (data_ == nullptr) return;
  int current = ordinal_;
  cudaGetDevice(&current);
  cudaSetDevice(ordinal_);
  cudaDeviceSynchronize();
  cudaSetDevice(current);
  Pool::Of(ordinal_).Give(data_, static_cast<int64_t>(bytes_));
}

Status DeviceMemory::Grow(size_t bytes, std::string_view what) {
  if (data_ != nullptr && bytes <= bytes_) return OkStatus();
  const size_t asked = bytes_ == 0 ? bytes : bytes + bytes / 8;
  *this = DeviceMemory();  // first, so that the old block does not count
  TESSERA_ASSIGN_OR_RETURN(*this, Create(asked, what));
  return OkStatus();
}

void DeviceMemory::Swap(DeviceMemory& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(ordinal_, other.ordinal_);
}

Result<PinnedMemory> PinnedMemory::Create(size_t bytes, std::string_view what) {
  PinnedMemory memory;
  const size_t size = std::max<size_t>(bytes, 1);
  const cudaError_t error = cudaHostAlloc(&memory.data_, size, cudaHostAllocDefault);
  TESSERA_RETURN_IF_ERROR(FromCuda(error, "pinned host memory").WithContext(what));
  memory.bytes_ = size;
  return memory;
}

PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  PinnedMemory old(std::move(*this));
  Swap(other);
  return *this;
}

PinnedMemory::~PinnedMemory() {
  if (data_ != nullptr) cudaFreeHost(data_);  // waits for copies
}

Status PinnedMemory::Grow(size_t bytes, std::string_view what) {
  if (data_ != nullptr && bytes <= bytes_) return OkStatus();
  const size_t asked = bytes_ == 0 ? bytes : bytes + bytes / 8;
  *this = PinnedMemory();
  TESSERA_ASSIGN_OR_RETURN(*this, Create(asked, what));
  return OkStatus();
}

void PinnedMemory::Swap(PinnedMemory& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
}

// --- Streams and events
// ----------------------------------------------------------------------------

Result<StreamHandle> StreamHandle::Create() {
  StreamHandle handle;
  TESSERA_CUDA_RETURN(cudaStreamCreateWithFlags(&handle.stream_, cudaStreamNonBlocking));
  return handle;
}

StreamHandle::~StreamHandle() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

Result<EventHandle> EventHandle::Create(bool timed) {
  EventHandle handle;
  TESSERA_CUDA_RETURN(
      cudaEventCreateWithFlags(&handle.event_, timed ? cudaEventDefault : cudaEventDisableTiming));
  return handle;
}

EventHandle::~EventHandle() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

Status EventHandle::Record(CUstream_st* stream) const {
  TESSERA_CUDA_RETURN(cudaEventRecord(event_, stream));
  return OkStatus();
}

Status EventHandle::Wait() const {
  TESSERA_CUDA_RETURN(cudaEventSynchronize(event_));
  return OkStatus();
}

Status EventHandle::HoldBack(CUstream_st* stream) const {
  TESSERA_CUDA_RETURN(cudaStreamWaitEvent(stream, event_));
  return OkStatus();
}

Result<float> EventHandle::MillisecondsSince(const EventHandle& earlier) const {
  float milliseconds = 0;
  TESSERA_CUDA_RETURN(cudaEventElapsedTime(&milliseconds, earlier.event_, event_));
  return milliseconds;
}

// --- Work on a stream
// ------------------------------------------------------------------------------

Status CopyToGpu(CUstream_st* stream, void* to, const void* host, size_t bytes) {
  if (bytes == 0) return OkStatus();
  TESSERA_CUDA_RETURN(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, stream));
  return OkStatus();
}

Status CopyToHost(CUstream_st* stream, void* host, const void* from, size_t bytes) {
  if (bytes == 0) return OkStatus();
  TESSERA_CUDA_RETURN(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream));
  return OkStatus();
}

Status CopyOnGpu(CUstream_st* stream, void* to, const void* from, size_t bytes) {
  if (bytes == 0) return OkStatus();
  TESSERA_CUDA_RETURN(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
  return OkStatus();
}

Status Zero(CUstream_st* stream, void* memory, size_t bytes) {
  if (bytes == 0) return OkStatus();
  TESSERA_CUDA_RETURN(cudaMemsetAsync(memory, 0, bytes, stream));
  return OkStatus();
}

Status Synchronize(CUstream_st* stream) {
  TESSERA_CUDA_RETURN(cudaStreamSynchronize(stream));
  return OkStatus();
}

}  // namespace tessera::cuda
