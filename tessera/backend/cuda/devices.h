// The GPUs of this machine as the CUDA runtime shows them.
#pragma once

#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/gpu.h"

namespace tessera::cuda {

// Makes GPU `ordinal` the current one of this thread. Errors list the GPUs that there are.
Result<Gpu> OpenGpu(int32_t ordinal);

// The kernels made for a GPU of this compute capability: 80, 90 or 120. Between them the ones below
// are compiled again by the driver, without what only the listed GPU has.
int32_t KernelsFor(int32_t capability);

}  // namespace tessera::cuda
