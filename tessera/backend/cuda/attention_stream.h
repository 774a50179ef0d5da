// Attention of bf16 K/V on Hopper.
#pragma once

#include "tessera/backend/cuda/kernels.h"

namespace tessera::cuda {

bool StreamsAttention(const Gpu& gpu, const ops::KvFormat& format);
// Attention (kernels.h) where StreamsAttention; needs no scratch memory.
Status AttentionStream(Stream stream, const Gpu& gpu, const AttentionLaunch& args);

}  // namespace tessera::cuda
