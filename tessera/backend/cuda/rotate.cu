// RotateAndStore and KvCopy: keys and values on their way into pages.
#include <cuda_bf16.h>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/launch.cuh"
#include "tessera/backend/cuda/stores.cuh"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kMaxHeadDim = 256;

// Stored as T: BF16 or float, as K and V are.
template <typename T>
__device__ __forceinline__ T Stored(float value) {
  if constexpr (sizeof(T) == 2) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
  } else {
    return value;
  }
}

// kWide neighbouring elements, aligned to their size, read and written at once. kWide is 4 or 1.
template <int kWide>
struct alignas(kWide * sizeof(float)) Piece {
  float value[kWide];
};
template <int kWide>
__device__ __forceinline__ Piece<kWide> Load(const float* from) {
  return *reinterpret_cast<const Piece<kWide>*>(from);
}
template <int kWide>
__device__ __forceinline__ void Store(const Piece<kWide>& piece, float* to) {
  if constexpr (kWide == 4) {
    StoreFour(to, piece.value);
  } else {
    *to = piece.value[0];
  }
}
template <int kWide>
__device__ __forceinline__ void Store(const Piece<kWide>& piece, BF16* to) {
  if constexpr (kWide == 4) {
    StoreWords(to, PackBF16(piece.value[0], piece.value[1]),
               PackBF16(piece.value[2], piece.value[3]));
  } else {
    *to = Stored<BF16>(piece.value[0]);
  }
}

// Where a row of a step goes. Rows of no group are surplus.
struct RowPlace {
  int slot, group;
  __device__ __forceinline__ RowPlace(const DeviceStep& step, int row)
      : slot(row < step.padded_rows ? step.slots[row] : -1),
        group(row < step.padded_rows ? step.row_group[row] : -1) {}
  __device__ __forceinline__ bool stored() const { return slot >= 0 && group >= 0; }
  __device__ __forceinline__ int key() const { return slot % ops::kPageRows; }
  // The page of K or V, `pages`, that the row is stored to.
  template <typename T>
  __device__ __forceinline__ T* Page(const RotateLaunch& args, void* pages) const {
    const int first = args.step.groups[group].page_begin;
    const int64_t number = args.step.pages[first + slot / ops::kPageRows];
    return static_cast<T*>(pages) +
           number * args.kv.format.kv_heads * ops::kPageRows * args.kv.format.head_dim;
  }
};

// How a block shares the heads of Q and K of one row: teams of `lanes` threads, kTeamHeads heads
// each, that use the same sines and cosines. A thread holds kPairs pairs of pieces of a head: pairs
// that rotate together, then those that do not rotate, side by side.
constexpr int kTeamHeads = 2;
template <int kWide>
constexpr int kPairs = kMaxHeadDim / 2 / 32 / kWide;
struct TeamPlan {
  int lanes, block_heads, row_blocks;
  template <int kWide>
  static TeamPlan Of(int heads, int head_dim) {
    TeamPlan plan = {32, 0, 0};
    while (kWide > 1 && plan.lanes / 2 * 2 * kWide >= head_dim) plan.lanes /= 2;
    plan.block_heads = kThreads / plan.lanes * kTeamHeads;
    plan.row_blocks = (heads + plan.block_heads - 1) / plan.block_heads;
    return plan;
  }
};

template <typename T, int kWide>
__device__ __forceinline__ void RotateHeads(const RotateLaunch& args, const TeamPlan& plan,
                                            int block) {
  const DeviceStep& step = args.step;
  const int heads = args.heads, kv_heads = args.kv.format.kv_heads;
  const int dim = args.kv.format.head_dim, pairs = dim / 2 / kWide;
  const int half = args.rotary_dim / 2 / kWide;
  const int row = block / plan.row_blocks, lane = static_cast<int>(threadIdx.x) % plan.lanes;
  const int teams = kThreads / plan.lanes;
  const int first_head =
      block % plan.row_blocks * plan.block_heads + static_cast<int>(threadIdx.x) / plan.lanes;
  const RowPlace place(step, row);
  const float* cos_sin =
      args.cos_sin + int64_t{args.by_position ? step.positions[row] : row} * args.rotary_dim;
  WaitForPredecessor();
  if (!place.stored()) return;

  // The loads that take longest come first.
  float* const qkv = args.qkv + int64_t{row} * (heads + 2 * kv_heads) * dim;
  int first[kPairs<kWide>], second[kPairs<kWide>];
  Piece<kWide> a[kTeamHeads][kPairs<kWide>] = {}, b[kTeamHeads][kPairs<kWide>] = {};
#pragma unroll
  for (int i = 0; i < kPairs<kWide>; ++i) {
    const int p = i * plan.lanes + lane;
    first[i] = kWide * (p < half ? p : 2 * p);
    second[i] = kWide * (p < half ? p + half : 2 * p + 1);
#pragma unroll
    for (int h = 0; h < kTeamHeads; ++h) {
      const int head = first_head + h * teams;
      if (head >= heads + kv_heads || p >= pairs) continue;
      a[h][i] = Load<kWide>(qkv + head * dim + first[i]);
      b[h][i] = Load<kWide>(qkv + head * dim + second[i]);
    }
  }
  Piece<kWide> cos[kPairs<kWide>], sin[kPairs<kWide>];
#pragma unroll
  for (int i = 0; i < kPairs<kWide>; ++i) {
    const int p = i * plan.lanes + lane;
    if (p >= half) continue;
    cos[i] = Load<kWide>(cos_sin + kWide * p);
    sin[i] = Load<kWide>(cos_sin + kWide * (half + p));
  }
  T* const page = place.Page<T>(args, args.kv.k);
#pragma unroll
  for (int h = 0; h < kTeamHeads; ++h) {
    const int head = first_head + h * teams;
    const bool is_q = head < heads;
    const float* norm = is_q ? args.q_norm : args.k_norm;
    if (args.q_norm != nullptr || args.k_norm != nullptr) {  // alike in all lanes
      float squares = 0;
#pragma unroll
      for (int i = 0; i < kPairs<kWide>; ++i) {
#pragma unroll
        for (int j = 0; j < kWide; ++j) {
          squares = fmaf(a[h][i].value[j], a[h][i].value[j], squares);
          squares = fmaf(b[h][i].value[j], b[h][i].value[j], squares);
        }
      }
      for (int mask = plan.lanes / 2; mask > 0; mask /= 2) {
        squares += __shfl_xor_sync(0xffffffff, squares, mask);
      }
      const float scale = 1.f / sqrtf(squares / static_cast<float>(dim) + args.norm_eps);
#pragma unroll
      for (int i = 0; i < kPairs<kWide>; ++i) {
        if (norm == nullptr || i * plan.lanes + lane >= pairs) continue;
        const Piece<kWide> low = Load<kWide>(norm + first[i]);
        const Piece<kWide> high = Load<kWide>(norm + second[i]);
#pragma unroll
        for (int j = 0; j < kWide; ++j) {
          a[h][i].value[j] *= scale * low.value[j];
          b[h][i].value[j] *= scale * high.value[j];
        }
      }
    }
    if (head >= heads + kv_heads) continue;
#pragma unroll
    for (int i = 0; i < kPairs<kWide>; ++i) {
      const int p = i * plan.lanes + lane;
      if (p >= pairs) continue;
      if (p < half) {
#pragma unroll
        for (int j = 0; j < kWide; ++j) {
          const float x = a[h][i].value[j], y = b[h][i].value[j];
          a[h][i].value[j] = x * cos[i].value[j] - y * sin[i].value[j];
          b[h][i].value[j] = y * cos[i].value[j] + x * sin[i].value[j];
        }
      }
      if (is_q) {
        Store(a[h][i], qkv + head * dim + first[i]);
        Store(b[h][i], qkv + head * dim + second[i]);
      } else {
        T* const to = page + KeyIndex(head - heads, place.key(), 0, dim);
        Store(a[h][i], to + first[i]);
        Store(b[h][i], to + second[i]);
      }
    }
  }
}

// V of one head and 32 rows goes through shared memory, from which each lane writes the column of a
// row: where rows have neighbouring slots, a warp writes a contiguous piece of a page.
constexpr int kTileRows = 32;
constexpr int kWarpRows = kTileRows / kWarps;

template <typename T, int kWide>
__device__ __forceinline__ void StoreValues(const RotateLaunch& args, int block) {
  constexpr int kElements = 4 / sizeof(T);  // of a word
  __shared__ uint32_t words[kTileRows * (kMaxHeadDim / kElements + 1)];
  const DeviceStep& step = args.step;
  const int heads = args.heads, kv_heads = args.kv.format.kv_heads;
  const int dim = args.kv.format.head_dim;
  const int stride = dim / kElements | 1;  // odd: the banks of a column differ
  const int first_row = block / kv_heads * kTileRows, kv_head = block % kv_heads;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const RowPlace place(step, first_row + lane);
  const uint32_t rows = __ballot_sync(0xffffffff, place.stored());
  WaitForPredecessor();
  for (int d = lane * kWide; d < dim; d += 32 * kWide) {
    Piece<kWide> piece[kWarpRows] = {};
#pragma unroll
    for (int i = 0; i < kWarpRows; ++i) {
      const int r = warp + i * kWarps;
      if ((rows >> r & 1) == 0) continue;
      piece[i] = Load<kWide>(
          args.qkv +
          (int64_t{first_row + r} * (heads + 2 * kv_heads) + heads + kv_heads + kv_head) * dim + d);
    }
#pragma unroll
    for (int i = 0; i < kWarpRows; ++i) {
      T* const line = reinterpret_cast<T*>(words + (warp + i * kWarps) * stride);
#pragma unroll
      for (int j = 0; j < kWide; ++j) line[d + j] = Stored<T>(piece[i].value[j]);
    }
  }
  T* const to = place.stored()
                    ? place.Page<T>(args, args.kv.v) + ValueIndex(kv_head, place.key(), 0, dim)
                    : nullptr;
  __syncthreads();
  if (!place.stored()) return;
#pragma unroll 4
  for (int word = warp; word < dim / kElements; word += kWarps) {
    const uint32_t bits = words[lane * stride + word];
    T* const at = to + word * kElements * ops::kPageRows;
    if constexpr (sizeof(T) == 2) {
      at[0] = static_cast<T>(bits);
      at[ops::kPageRows] = static_cast<T>(bits >> 16);
    } else {
      at[0] = __uint_as_float(bits);
    }
  }
}

// The first `value_blocks` blocks store V, the others rotate.
template <typename T, int kWide>
__global__ void __launch_bounds__(kThreads)
    RotateKernel(const __grid_constant__ RotateLaunch args, const TeamPlan plan, int value_blocks) {
  AllowSuccessor();
  const int block = static_cast<int>(blockIdx.x);
  if (block < value_blocks) {
    StoreValues<T, kWide>(args, block);
  } else {
    RotateHeads<T, kWide>(args, plan, block - value_blocks);
  }
}

template <typename T, int kWide>
Status LaunchRotate(Stream stream, const RotateLaunch& args) {
  const int rows = args.step.padded_rows, kv_heads = args.kv.format.kv_heads;
  const TeamPlan plan = TeamPlan::Of<kWide>(args.heads + kv_heads, args.kv.format.head_dim);
  const int value_blocks = (rows + kTileRows - 1) / kTileRows * kv_heads;
  return LaunchOverlapped("storing keys and values", RotateKernel<T, kWide>,
                          static_cast<unsigned>(value_blocks + rows * plan.row_blocks), kThreads, 0,
                          stream, args, plan, value_blocks);
}

template <typename T>
Status LaunchRotate(Stream stream, const RotateLaunch& args) {
  const auto aligned = [](const float* row) { return reinterpret_cast<uintptr_t>(row) % 16 == 0; };
  const bool wide = args.kv.format.head_dim % 8 == 0 && args.rotary_dim % 8 == 0 &&
                    aligned(args.qkv) && aligned(args.cos_sin) && aligned(args.q_norm) &&
                    aligned(args.k_norm);
  return wide ? LaunchRotate<T, 4>(stream, args) : LaunchRotate<T, 1>(stream, args);
}

// Blocks [kv_heads, K or V]; a thread moves its elements through all moves, so that no thread reads
// what another wrote.
template <typename T>
__global__ void __launch_bounds__(kMaxHeadDim)
    KvCopyKernel(const __grid_constant__ ops::KvLayer kv, const int32_t* moves, int64_t count) {
  AllowSuccessor();
  WaitForPredecessor();
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
  return args.kv.format.type == ops::KvType::kF32 ? LaunchRotate<float>(stream, args)
                                                  : LaunchRotate<BF16>(stream, args);
}

Status KvCopy(Stream stream, const ops::KvLayer& kv, const int32_t* moves, int64_t count) {
  if (count == 0) return OkStatus();
  TESSERA_RETURN_IF_ERROR(CheckFormat(kv.format));
  const dim3 grid(static_cast<unsigned>(kv.format.kv_heads), 2);
  const auto kernel =
      kv.format.type == ops::KvType::kF32 ? KvCopyKernel<float> : KvCopyKernel<BF16>;
  return LaunchOverlapped("copying keys and values", kernel, grid, kMaxHeadDim, 0, stream, kv,
                          moves, count);
}

}  // namespace tessera::cuda
