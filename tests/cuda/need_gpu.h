// Lets a program say that it was skipped.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>

namespace tessera::cuda {

// Known to tests/cuda/CMakeLists.txt.
inline constexpr int kSkipped = 77;

// False, after a line that says why, where the program has nothing to run on.
inline bool HasGpu() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return true;
  std::printf("skipped: %s\n", error == cudaSuccess ? "no GPU" : cudaGetErrorString(error));
  return false;
}

}  // namespace tessera::cuda
