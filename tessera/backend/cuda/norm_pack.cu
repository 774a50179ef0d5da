// Packed activations from f32 rows, with and without RMSNorm.
#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/launch.cuh"
#include "tessera/backend/cuda/stores.cuh"
#include "tessera/backend/cuda/sums.cuh"

namespace tessera::cuda {
namespace {

constexpr int kBlock = 8;  // inputs of a row that lie side by side when packed: one lane's share

// Inputs k .. k + 7 of a row, zeros beyond its width. kWhole: rows end with whole blocks and are
// aligned to 16 bytes, so that the loads of a loop need not wait for branches.
template <bool kWhole>
__device__ __forceinline__ void LoadBlock(const float* row, int64_t k, int64_t width, float* out) {
  const float* from = row + k;
  if constexpr (kWhole) {
    const float4 low = reinterpret_cast<const float4*>(from)[0];
    const float4 high = reinterpret_cast<const float4*>(from)[1];
    out[0] = low.x, out[1] = low.y, out[2] = low.z, out[3] = low.w;
    out[4] = high.x, out[5] = high.y, out[6] = high.z, out[7] = high.w;
  } else {
#pragma unroll
    for (int i = 0; i < kBlock; ++i) out[i] = k + i < width ? from[i] : 0.f;
  }
}
// Whether all rows that begin at multiples of `width` behind `rows` are whole, padding included.
bool Whole(const float* rows, int64_t width) {
  return width % PaddedInputs(1) == 0 && reinterpret_cast<uintptr_t>(rows) % 16 == 0;
}

__device__ __forceinline__ void StoreBlock(const float* value, BF16* packed) {
  StoreWords(packed, PackBF16(value[0], value[1]), PackBF16(value[2], value[3]),
             PackBF16(value[4], value[5]), PackBF16(value[6], value[7]));
}

// A warp packs 4 rows x one chunk of 64 inputs, so that reads and writes fill whole sectors; the
// four warps of a block take neighbouring chunks.
constexpr int kPackRows = 4, kPackWarps = 4;

template <bool kNorm, bool kWhole>
__global__ void __launch_bounds__(kPackWarps * 32)
    PackKernel(const __grid_constant__ NormPackLaunch args) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t row = int64_t{blockIdx.x} * kPackRows + lane / 8;
  const int64_t chunk = int64_t{blockIdx.y} * kPackWarps + threadIdx.x / 32;
  const int64_t k = chunk * kChunk + lane % 8 * kBlock;
  const int64_t padded_rows = PaddedRows(args.rows);
  const bool known = row < args.rows;  // whole groups of 8 lanes
  float value[kBlock] = {};
  AllowSuccessor();
  WaitForPredecessor();
  if (known) LoadBlock<kWhole>(args.hidden + row * args.width, k, args.width, value);
  if constexpr (kNorm) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kBlock; ++i) squares = fmaf(value[i], value[i], squares);
    squares = WarpSum<8>(squares);
    if (known && lane % 8 == 0 && chunk * kChunk < args.width) {
      args.square_sums[chunk * padded_rows + row] = squares;
    }
    float weight[kBlock];
    LoadBlock<kWhole>(args.norm_weight, k, args.width, weight);
#pragma unroll
    for (int i = 0; i < kBlock; ++i) value[i] *= weight[i];
  }
  if (known) StoreBlock(value, args.packed + ActivationIndex(row, k, padded_rows, args.width));
}

template <bool kNorm>
Status LaunchPack(Stream stream, const NormPackLaunch& args) {
  if (args.rows == 0) return OkStatus();
  const dim3 grid(static_cast<unsigned>(RoundUp(args.rows, kPackRows) / kPackRows),
                  static_cast<unsigned>(PaddedInputs(args.width) / (kPackWarps * kChunk)));
  const bool whole = Whole(args.hidden, args.width) && Whole(args.norm_weight, args.width);
  const auto kernel = whole ? PackKernel<kNorm, true> : PackKernel<kNorm, false>;
  return LaunchOverlapped("packing activations", kernel, grid, kPackWarps * 32, 0, stream, args);
}

// A block per 4 packed rows, shared among its warps as above. Rows are read twice, the second time
// from L1.
constexpr int kGatherWarps = 16;

template <bool kWhole>
__global__ void __launch_bounds__(kGatherWarps * 32)
    GatherNormPackKernel(const int32_t* rows, int64_t count, int64_t width, const float* hidden,
                         const float* norm_weight, float eps, BF16* packed) {
  __shared__ float sums[kGatherWarps][kPackRows];
  AllowSuccessor();
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int64_t row = int64_t{blockIdx.x} * kPackRows + lane / 8;
  const bool known = row < count;
  const float* from = hidden + (known ? rows[row] : 0) * width;
  const int64_t first = warp * kChunk + lane % 8 * kBlock;
  constexpr int64_t kStride = kGatherWarps * kChunk;
  WaitForPredecessor();
  float value[kBlock], weight[kBlock];
  float squares = 0;
#pragma unroll 4
  for (int64_t k = first; k < width; k += kStride) {
    LoadBlock<kWhole>(from, k, width, value);
#pragma unroll
    for (int i = 0; i < kBlock; ++i) squares = fmaf(value[i], value[i], squares);
  }
  squares = WarpSum<8>(squares);
  if (lane % 8 == 0) sums[warp][lane / 8] = squares;
  __syncthreads();
  if (!known) return;
  float total = 0;
#pragma unroll
  for (int i = 0; i < kGatherWarps; ++i) total += sums[i][lane / 8];
  const float scale = 1.f / sqrtf(total / static_cast<float>(width) + eps);
  const int64_t padded_rows = PaddedRows(count);
#pragma unroll 2
  for (int64_t k = first; k < PaddedInputs(width); k += kStride) {
    LoadBlock<kWhole>(from, k, width, value);
    LoadBlock<kWhole>(norm_weight, k, width, weight);
#pragma unroll
    for (int i = 0; i < kBlock; ++i) value[i] = value[i] * scale * weight[i];
    StoreBlock(value, packed + ActivationIndex(row, k, padded_rows, width));
  }
}

}  // namespace

Status NormPack(Stream stream, const NormPackLaunch& args) {
  return LaunchPack<true>(stream, args);
}

Status PackRows(Stream stream, int64_t rows, int64_t width, const float* x, BF16* packed) {
  return LaunchPack<false>(stream, {.rows = rows, .width = width, .hidden = x, .packed = packed});
}

Status GatherNormPack(Stream stream, const int32_t* rows, int64_t count, int64_t width,
                      const float* hidden, const float* norm_weight, float eps, BF16* packed) {
  if (count == 0) return OkStatus();
  const auto blocks = static_cast<unsigned>(RoundUp(count, kPackRows) / kPackRows);
  const bool whole = Whole(hidden, width) && Whole(norm_weight, width);
  const auto kernel = whole ? GatherNormPackKernel<true> : GatherNormPackKernel<false>;
  return LaunchOverlapped("packing chosen rows", kernel, blocks, kGatherWarps * 32, 0, stream, rows,
                          count, width, hidden, norm_weight, eps, packed);
}

}  // namespace tessera::cuda
