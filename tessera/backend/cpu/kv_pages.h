// Layout of K/V pages on the CPU, and the operations that write them.
//
// Heads of a page follow each other. Inside a head, with D = head_dim rounded up to padded_dim:
//   K f32   [D][64 slots]                    slots are contiguous: scores vectorise over keys
//   K bf16  [D/2][64 slots][2 channels]
//   V f32   [64 slots][D]                    channels are contiguous: sums vectorise over channels
//   V bf16  [64 slots][D/32][16][2]          element (i, j) of a block is channel 16 j + i
//   K int8  [D][64 slots], scales [64] f32   one scale per slot, see ops::QuantizeKv
//   V int8  [64 slots][D], scales [64] f32
// The bf16 pairs make one 32-bit word hold two values that become f32 with a shift and a mask, both
// without moving between lanes. Padding is never read as a result.
#pragma once

#include <cstdint>

#include "tessera/backend/cpu/op_kernels.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/device.h"

namespace tessera::cpu {

inline int32_t PaddedDim(const ops::KvFormat& format) {
  const int32_t pad = format.type == ops::KvType::kBF16 ? kChannelPadBf16 : kChannelPad;
  return (format.head_dim + pad - 1) / pad * pad;
}
inline int32_t KvElementBytes(ops::KvType type) {
  switch (type) {
    case ops::KvType::kF32: return 4;
    case ops::KvType::kBF16: return 2;
    case ops::KvType::kInt8: return 1;
  }
  return 0;
}
inline int64_t KvHeadBytes(const ops::KvFormat& format) {
  const int64_t scale = format.type == ops::KvType::kInt8 ? sizeof(float) : 0;
  return ops::kPageRows * (int64_t{PaddedDim(format)} * KvElementBytes(format.type) + scale);
}
inline int64_t KvPageBytes(const ops::KvFormat& format) {
  return format.kv_heads * KvHeadBytes(format);
}

// K in args.qkv is normalised and rotated in place, like Q.
void RotateAndStore(const ops::RotateAndStoreArgs& args, const OpKernels& kernels,
                    ThreadPool& pool);

void KvCopy(const ops::KvCopyArgs& args);

}  // namespace tessera::cpu
