// Errors of the CUDA runtime as Status, and what every kernel file needs.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

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

}  // namespace tessera::cuda
