// Launches whose start overlaps the end of the kernel before, and errors of the CUDA runtime as
// Status.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

#include "tessera/base/status.h"

#define TESSERA_CUDA_RETURN(expression)                                  \
  do {                                                                   \
    const cudaError_t tessera_cuda_error = (expression);                 \
    if (tessera_cuda_error != cudaSuccess) {                             \
      return ::tessera::cuda::FromCuda(tessera_cuda_error, #expression); \
    }                                                                    \
  } while (false)

namespace tessera::cuda {

// OkStatus, kResourceExhausted for memory, else kInternal; clears the runtime's last error.
Status FromCuda(cudaError_t error, const char* what);

// The error of the launch before, if any.
inline Status LaunchStatus(const char* what) { return FromCuda(cudaGetLastError(), what); }

// Whether the current GPU overlaps launches.
bool OverlapsLaunches();

// kernel<<<grid, threads, shared_bytes, stream>>>(args...) that may start before the kernel ahead
// of it on the stream has ended (CUDA programming guide, "Programmatic Dependent Launch"). Each of
// its blocks must call WaitForPredecessor before it touches what kernels ahead read or write. What
// copies brought to the GPU before the first of these kernels is there from the start.
template <typename... Parameters, typename... Args>
Status LaunchOverlapped(const char* what, void (*kernel)(Parameters...), dim3 grid, int threads,
                        size_t shared_bytes, cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = OverlapsLaunches() ? 1 : 0;
  return FromCuda(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), what);
}

// Until the kernels before have ended and their writes are visible.
__device__ __forceinline__ void WaitForPredecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Once all blocks have called it, or ended, the next kernel may start to run beside this one.
__device__ __forceinline__ void AllowSuccessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace tessera::cuda
