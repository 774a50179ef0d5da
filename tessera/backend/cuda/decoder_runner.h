// Runs the forwards of a dense decoder: one upload of the step, one CUDA graph for the layers, one
// wait for the statistics of the head.
//
// Activations between the products are packed bf16 (layout.h), written by the operation before. A
// norm is applied in two halves: its weight when the input is packed, the factor of the row after
// the product.
#pragma once

#include <memory>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/ops/device.h"

namespace tessera::cuda {

// Null where only the operations one by one can run the network: f32 weights of layers, or feed-
// forwards whose gates are not paired. `stream` and the weights must outlive the runner.
Result<std::unique_ptr<ops::CompiledDecoder>> MakeDecoderRunner(const Gpu& gpu, Stream stream,
                                                                const ops::DecoderShape& shape);

}  // namespace tessera::cuda
