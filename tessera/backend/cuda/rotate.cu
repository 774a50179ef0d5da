// RotateAndStore and KvCopy: keys and values on their way into pages.
#include <cuda_bf16.h>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/launch.cuh"
#include "tessera/backend/cuda/sums.cuh"

namespace tessera::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kMaxHeadDim = 256;
constexpr int kPairs = kMaxHeadDim / 2 / 32;  // elements of a lane, two by two

template <typename T>
__device__ __forceinline__ T Stored(float value) {
  if constexpr (sizeof(T) == 2) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
  } else {
    return value;
  }
}

// Pair p of a head: the elements that rotate together, then those that do not rotate side by side.
struct Pair {
  int first, second;
  __device__ __forceinline__ Pair(int p, int rotary_dim) {
    const int half = rotary_dim / 2;
    first = p < half ? p : 2 * p;
    second = p < half ? p + half : first + 1;
  }
};

// A warp per row and head of Q, K or V. T: BF16 or float, as K and V are stored.
template <typename T>
__global__ void __launch_bounds__(kWarps * 32)
    RotateKernel(const __grid_constant__ RotateLaunch args) {
  const DeviceStep& step = args.step;
  const int row = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x % 32);
  const int head = static_cast<int>(blockIdx.y * kWarps + threadIdx.x / 32);
  const int heads = args.heads, kv_heads = args.kv.format.kv_heads;
  const int dim = args.kv.format.head_dim;
  const int slot = step.slots[row], group = step.row_group[row];
  if (slot < 0 || group < 0 || head >= heads + 2 * kv_heads) return;
  const bool is_q = head < heads, is_v = head >= heads + kv_heads;
  const int rotary_dim = is_v ? 0 : args.rotary_dim;
  float* at = args.qkv + (int64_t{row} * (heads + 2 * kv_heads) + head) * dim;

  float a[kPairs], b[kPairs];
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int p = i * 32 + lane;
    const Pair pair(p, rotary_dim);
    const bool known = p < dim / 2;
    a[i] = known ? at[pair.first] : 0.f;
    b[i] = known ? at[pair.second] : 0.f;
  }
  const float* norm = is_v ? nullptr : is_q ? args.q_norm : args.k_norm;
  if (norm != nullptr) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) squares = fmaf(b[i], b[i], fmaf(a[i], a[i], squares));
    const float scale = 1.f / sqrtf(WarpSum(squares) / static_cast<float>(dim) + args.norm_eps);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int p = i * 32 + lane;
      if (p >= dim / 2) break;
      const Pair pair(p, rotary_dim);
      a[i] = a[i] * scale * norm[pair.first];
      b[i] = b[i] * scale * norm[pair.second];
    }
  }
  const float* cos_sin =
      args.cos_sin + int64_t{args.by_position ? step.positions[row] : row} * args.rotary_dim;
  T* page = nullptr;  // of K or V
  if (!is_q) {
    const int number = step.pages[step.groups[group].page_begin + slot / ops::kPageRows];
    page = static_cast<T*>(is_v ? args.kv.v : args.kv.k) +
           int64_t{number} * kv_heads * ops::kPageRows * dim;
  }
  const int kv_head = head - heads - (is_v ? kv_heads : 0), key = slot % ops::kPageRows;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int p = i * 32 + lane;
    if (p >= dim / 2) break;
    const Pair pair(p, rotary_dim);
    if (p < rotary_dim / 2) {
      const float cos = cos_sin[p], sin = cos_sin[rotary_dim / 2 + p];
      const float low = a[i] * cos - b[i] * sin;
      b[i] = b[i] * cos + a[i] * sin;
      a[i] = low;
    }
    if (is_q) {
      at[pair.first] = a[i];
      at[pair.second] = b[i];
    } else if (is_v) {
      page[ValueIndex(kv_head, key, pair.first, dim)] = Stored<T>(a[i]);
      page[ValueIndex(kv_head, key, pair.second, dim)] = Stored<T>(b[i]);
    } else {
      page[KeyIndex(kv_head, key, pair.first, dim)] = Stored<T>(a[i]);
      page[KeyIndex(kv_head, key, pair.second, dim)] = Stored<T>(b[i]);
    }
  }
}

// Blocks [kv_heads, K or V]; a thread moves its elements through all moves, so that no thread reads
// what another wrote.
template <typename T>
__global__ void __launch_bounds__(kMaxHeadDim)
    KvCopyKernel(const __grid_constant__ ops::KvLayer kv, const int32_t* moves, int64_t count) {
  const int64_t dim = kv.format.head_dim, head = blockIdx.x, d = threadIdx.x;
  if (d >= dim) return;
  const bool is_v = blockIdx.y == 1;
  T* pages = static_cast<T*>(is_v ? kv.v : kv.k);
  const auto place = [&](int32_t row) {
    const int64_t page = row / ops::kPageRows, key = row % ops::kPageRows;
    return pages + page * kv.format.kv_heads * ops::kPageRows * dim +
           (is_v ? ValueIndex(head, key, d, dim) : KeyIndex(head, key, d, dim));
  };
  for (int64_t i = 0; i < count; ++i) *place(moves[2 * i + 1]) = *place(moves[2 * i]);
}

Status CheckFormat(const ops::KvFormat& format) {
  if (format.head_dim % 2 == 0 && format.head_dim <= kMaxHeadDim) return OkStatus();
  return FromCuda(cudaErrorInvalidValue, "heads must have an even number of at most 256 channels");
}

}  // namespace

Status RotateAndStore(Stream stream, const RotateLaunch& args) {
  if (args.step.padded_rows == 0) return OkStatus();
  TESSERA_RETURN_IF_ERROR(CheckFormat(args.kv.format));
  const int64_t heads = int64_t{args.heads} + 2 * args.kv.format.kv_heads;
  const dim3 grid(static_cast<unsigned>(args.step.padded_rows),
                  static_cast<unsigned>(RoundUp(heads, kWarps) / kWarps));
  if (args.kv.format.type == ops::KvType::kF32) {
    RotateKernel<float><<<grid, kWarps * 32, 0, stream>>>(args);
  } else {
    RotateKernel<BF16><<<grid, kWarps * 32, 0, stream>>>(args);
  }
  return LaunchStatus("storing keys and values");
}

Status KvCopy(Stream stream, const ops::KvLayer& kv, const int32_t* moves, int64_t count) {
  if (count == 0) return OkStatus();
  TESSERA_RETURN_IF_ERROR(CheckFormat(kv.format));
  const dim3 grid(static_cast<unsigned>(kv.format.kv_heads), 2);
  if (kv.format.type == ops::KvType::kF32) {
    KvCopyKernel<float><<<grid, kMaxHeadDim, 0, stream>>>(kv, moves, count);
  } else {
    KvCopyKernel<BF16><<<grid, kMaxHeadDim, 0, stream>>>(kv, moves, count);
  }
  return LaunchStatus("copying keys and values");
}

}  // namespace tessera::cuda
