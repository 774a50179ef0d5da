#include "tessera/backend/cuda/devices.h"

#include <cuda_runtime_api.h>

#include "tessera/backend/cuda/cuda_device.h"
#include "tessera/backend/cuda/launch.cuh"
#include "tessera/backend/cuda/memory.h"
#include "tessera/backend/cuda/rates.h"

namespace tessera::cuda {
namespace {

int32_t Attribute(cudaDeviceAttr attribute, int32_t ordinal) {
  int value = 0;
  return cudaDeviceGetAttribute(&value, attribute, ordinal) == cudaSuccess ? value : 0;
}

backend::GpuInfo Examine(int32_t ordinal, bool with_free_memory) {
  backend::GpuInfo info = {.ordinal = ordinal};
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess) {
    cudaGetLastError();
    info.name = "does not answer";
    return info;
  }
  info.name = properties.name;
  info.capability = properties.major * 10 + properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  info.l2_bytes = properties.l2CacheSize;
  info.clock_mhz = Attribute(cudaDevAttrClockRate, ordinal) / 1000;
  info.memory_clock_mhz = Attribute(cudaDevAttrMemoryClockRate, ordinal) / 1000;
  info.memory_bus_bits = Attribute(cudaDevAttrGlobalMemoryBusWidth, ordinal);
  if (with_free_memory && SetCurrentGpu(ordinal).ok()) {
    if (const auto use = CurrentMemoryUse(); use.ok()) info.free_bytes = use->free;
  }
  return info;
}

}  // namespace

Result<Gpu> OpenGpu(int32_t ordinal) {
  const backend::GpuReport report = backend::ExamineGpus(false);
  TESSERA_RETURN_IF_ERROR(backend::CheckOrdinal(report, ordinal));
  TESSERA_RETURN_IF_ERROR(SetCurrentGpu(ordinal));
  const backend::GpuInfo& info = report.gpus[static_cast<size_t>(ordinal)];
  return Gpu{.ordinal = ordinal,
             .multiprocessors = info.multiprocessors,
             .capability = KernelsFor(info.capability)};
}

int32_t KernelsFor(int32_t capability) {
  return capability >= 120 ? 120 : capability == 90 ? 90 : 80;
}

}  // namespace tessera::cuda

namespace tessera::backend {

GpuReport ExamineGpus(bool with_free_memory) {
  GpuReport report = {.compiled = true};
  cudaDriverGetVersion(&report.driver);
  cudaRuntimeGetVersion(&report.runtime);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (report.driver == 0) {
    report.problem = "the NVIDIA driver is not installed";
  } else if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    report.problem = "the driver reports no GPU";
  } else if (error != cudaSuccess) {
    report.problem = cudaGetErrorString(error);
  }
  if (error != cudaSuccess) {
    cudaGetLastError();
    return report;
  }
  for (int32_t ordinal = 0; ordinal < count; ++ordinal) {
    report.gpus.push_back(cuda::Examine(ordinal, with_free_memory));
  }
  return report;
}

Result<std::unique_ptr<ops::Device>> MakeGpuDevice(std::string_view name) {
  TESSERA_ASSIGN_OR_RETURN(const int32_t ordinal, ParseGpuOrdinal(name));
  TESSERA_ASSIGN_OR_RETURN(const cuda::Gpu gpu, cuda::OpenGpu(ordinal));
  return cuda::MakeCudaDevice(gpu);
}

Result<double> MeasureGpuReadBandwidth(std::string_view name) {
  TESSERA_ASSIGN_OR_RETURN(const int32_t ordinal, ParseGpuOrdinal(name));
  TESSERA_ASSIGN_OR_RETURN(const cuda::Gpu gpu, cuda::OpenGpu(ordinal));
  return cuda::ReadBandwidth(gpu);
}

}  // namespace tessera::backend
