// Products for GPUs without wgmma.
#pragma once

#include <span>

#include "tessera/backend/cuda/kernels.h"

namespace tessera::cuda {

// Linears, a launch or two per step and without scratch memory.
Status LinearsPlain(Stream stream, const Gpu& gpu, int64_t rows, std::span<const LinearStep> steps);

}  // namespace tessera::cuda
