// What the GPU under us can do: the denominators of every timing here.
#pragma once

#include "tessera/backend/cuda/kernels.h"
#include "tessera/base/status.h"

namespace tessera::cuda {

// Bytes per second that reading 2 GiB once takes, far more than any L2 holds: the median of several
// launches. `gpu` must be the current one.
Result<double> ReadBandwidth(const Gpu& gpu);

}  // namespace tessera::cuda
