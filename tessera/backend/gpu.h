// What this build and this machine offer of GPUs. Implemented by cuda/ where there is a CUDA
// toolkit, else by none/, whose answers say what to do.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/ops/device.h"

namespace tessera::backend {

struct GpuInfo {
  int32_t ordinal = 0;
  std::string name;        // "NVIDIA H100 80GB HBM3"
  int32_t capability = 0;  // 90: compute capability 9.0
  int32_t multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t free_bytes = -1;  // -1: not asked for, or the GPU does not answer
  int64_t l2_bytes = 0;
  int32_t clock_mhz = 0;  // the highest
  int32_t memory_clock_mhz = 0, memory_bus_bits = 0;

  // Bytes per second that the memory's clock and width allow.
  double memory_bandwidth() const { return 2e6 * memory_clock_mhz * memory_bus_bits / 8; }
};

struct GpuReport {
  bool compiled = false;            // with the CUDA backend
  int32_t driver = 0, runtime = 0;  // 13000: CUDA 13.0; the driver's is the newest it can run
  std::string problem;              // why the driver shows no GPU
  std::vector<GpuInfo> gpus;
};

// `with_free_memory` takes some tenths of a second per GPU: it opens it.
GpuReport ExamineGpus(bool with_free_memory);

// `name` is "cuda" or "cuda:N". Errors list the GPUs that there are.
Result<std::unique_ptr<ops::Device>> MakeGpuDevice(std::string_view name);

// Bytes per second at which the GPU of that name reads its memory, measured now: the denominator of
// floors. Takes 2 GiB of its memory for some tens of milliseconds.
Result<double> MeasureGpuReadBandwidth(std::string_view name);

// --- Texts, the same in every build
// ------------------------------------------------------------------

// N of "cuda:N"; 0 for "cuda".
Result<int32_t> ParseGpuOrdinal(std::string_view name);
// One line per GPU, or one that says why there is none.
std::vector<std::string> Describe(const GpuReport& report);
// Whether GPU `ordinal` can be used: there is one, and the kernels were made for its kind.
Status CheckOrdinal(const GpuReport& report, int32_t ordinal);

}  // namespace tessera::backend
