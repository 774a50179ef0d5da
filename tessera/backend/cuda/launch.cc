#include <cuda_runtime_api.h>

#include "tessera/base/status.h"

// Not in a .cu file: nvcc cannot evaluate the format strings of fmt at compile time.
namespace tessera::cuda {

Status FromCuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return OkStatus();
  cudaGetLastError();  // forgets it, unless the context is lost
  const char* text = cudaGetErrorString(error);
  if (error == cudaErrorMemoryAllocation) return ResourceExhausted("CUDA: {}: {}", what, text);
  return Internal("CUDA: {}: {}", what, text);
}

bool OverlapsLaunches() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major >= 9;
}

}  // namespace tessera::cuda
