// Layout of K/V pages on the CPU, and the operations that write them.
//
// Heads of a page follow each other. Inside a head, with D = head_dim rounded up to padded_dim:
//   K f32   [D][64 slots]                    slots are contiguous: scores vectorise over keys
//   K bf16  [D/2][64 slots][2 channels]
//   V f32   [64 slots][D]                    channels are contiguous: sums vectorise over channels
//   V bf16  [64 slots][D/32][16][2]          element (i, j) of a block is channel 16 j + i
// The bf16 pairs make one 32-bit word hold two values that become f32 with a shift and a mask, both
// without moving between lanes. Padding is never read as a result.
#pragma once

#include <cstdint>

#include "tessera/backend/cpu/op_kernels.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/device.h"

namespace tessera::cpu {

inline int32_t PaddedDim(const ops::KvFormat& format) {
  const int32_t pad = format.type == ops::KvType::kF32 ? kChannelPadF32 : kChannelPadBf16;
  return (format.head_dim + pad - 1) / pad * pad;
}
inline int64_t KvHeadBytes(const ops::KvFormat& format) {
  const int64_t element = format.type == ops::KvType::kF32 ? sizeof(float) : sizeof(uint16_t);
  return int64_t{ops::kPageRows} * PaddedDim(format) * element;
}
inline int64_t KvPageBytes(const ops::KvFormat& format) {
  return format.kv_heads * KvHeadBytes(format);
}

// K in args.qkv is normalised and rotated in place, like Q.
void RotateAndStore(const ops::RotateAndStoreArgs& args, const OpKernels& kernels,
                    ThreadPool& pool);

void KvCopy(const ops::KvCopyArgs& args);

}  // namespace tessera::cpu
