// Attention over paged K/V.
#include "tessera/backend/cuda/attention_plain.cuh"
#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {

int64_t AttentionScratchBytes(const Gpu&, const DeviceStep&, int32_t, const ops::KvFormat&) {
  return 0;
}

Status Attention(Stream stream, const Gpu&, const AttentionLaunch& args) {
  const dim3 grid(static_cast<unsigned>(args.step.padded_rows), static_cast<unsigned>(args.heads));
  if (args.kv.format.type == ops::KvType::kBF16) {
    PlainAttentionKernel<__nv_bfloat16><<<grid, kPlainThreads, 0, stream>>>(args);
  } else {
    PlainAttentionKernel<float><<<grid, kPlainThreads, 0, stream>>>(args);
  }
  return LaunchStatus("attention");
}

}  // namespace tessera::cuda
