// The CUDA backend behind ops::Device: one operation after the other, activations as f32 rows in
// device memory. Everything runs on one stream; only operations that return numbers to the host
// wait for it.
#pragma once

#include <memory>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/ops/device.h"

namespace tessera::cuda {

// `gpu` comes from OpenGpu.
Result<std::unique_ptr<ops::Device>> MakeCudaDevice(const Gpu& gpu);

}  // namespace tessera::cuda
