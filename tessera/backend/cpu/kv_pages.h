// Layout of K/V pages on the CPU, and the operations that write them.
//
// K page: [kv_heads][padded_dim][kPageRows]: the first head_dim channels of a head are used, slots
//         are contiguous so that scores vectorise over keys.
// V page: [kv_heads][kPageRows][padded_dim]: channels are contiguous.
// padded_dim is head_dim rounded up to kChannelPad; the padding is never read as a result.
#pragma once

#include <cstdint>

#include "tessera/backend/cpu/op_kernels.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/device.h"

namespace tessera::cpu {

inline int32_t PaddedDim(const ops::KvFormat& format) {
  return (format.head_dim + kChannelPad - 1) / kChannelPad * kChannelPad;
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
