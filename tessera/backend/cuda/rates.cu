#include <algorithm>

#include "tessera/backend/cuda/launch.cuh"
#include "tessera/backend/cuda/memory.h"
#include "tessera/backend/cuda/rates.h"

namespace tessera::cuda {
namespace {

constexpr int64_t kBytes = int64_t{2} << 30;
constexpr int kThreads = 512, kBlocksPerMultiprocessor = 4;  // all threads that one can hold
constexpr int kInFlight = 4;
constexpr int kWarmups = 2, kRuns = 9;

// `count` words of 16 bytes, a grid-wide stride apart, kInFlight of a thread at once.
__global__ void ReadAll(const uint4* from, int64_t count, uint32_t* sink) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  uint32_t sum = 0;
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + (kInFlight - 1) * stride < count; i += kInFlight * stride) {
    uint4 words[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) words[j] = __ldcs(from + i + j * stride);
#pragma unroll
    for (const uint4& word : words) sum += word.x ^ word.y ^ word.z ^ word.w;
  }
  for (; i < count; i += stride) sum += from[i].x;
  if (sum == 1) *sink = sum;  // never, the memory is zero; keeps the loads
}

}  // namespace

Result<double> ReadBandwidth(const Gpu& gpu) {
  TESSERA_ASSIGN_OR_RETURN(const StreamHandle stream, StreamHandle::Create());
  TESSERA_ASSIGN_OR_RETURN(const DeviceMemory data,
                           DeviceMemory::Create(kBytes, "measuring the read bandwidth"));
  TESSERA_ASSIGN_OR_RETURN(const DeviceMemory sink,
                           DeviceMemory::Create(sizeof(uint32_t), "a sum"));
  TESSERA_ASSIGN_OR_RETURN(const EventHandle begin, EventHandle::Create(/*timed=*/true));
  TESSERA_ASSIGN_OR_RETURN(const EventHandle end, EventHandle::Create(/*timed=*/true));
  TESSERA_RETURN_IF_ERROR(Zero(stream.get(), data.data(), kBytes));
  float milliseconds[kRuns];
  for (int run = -kWarmups; run < kRuns; ++run) {
    TESSERA_RETURN_IF_ERROR(begin.Record(stream.get()));
    ReadAll<<<static_cast<unsigned>(gpu.multiprocessors * kBlocksPerMultiprocessor), kThreads, 0,
              stream.get()>>>(data.as<uint4>(), kBytes / 16, sink.as<uint32_t>());
    TESSERA_RETURN_IF_ERROR(LaunchStatus("reading memory"));
    TESSERA_RETURN_IF_ERROR(end.Record(stream.get()));
    TESSERA_RETURN_IF_ERROR(end.Wait());
    if (run < 0) continue;
    TESSERA_ASSIGN_OR_RETURN(milliseconds[run], end.MillisecondsSince(begin));
  }
  std::nth_element(milliseconds, milliseconds + kRuns / 2, milliseconds + kRuns);
  return static_cast<double>(kBytes) / (1e-3 * static_cast<double>(milliseconds[kRuns / 2]));
}

}  // namespace tessera::cuda
