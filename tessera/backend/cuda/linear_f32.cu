// The product of f32 weights, without tensor cores.
#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {
namespace {

// A block computes 32 rows x 32 features, each output in one thread with its inputs in order.
constexpr int kTile = 32;
constexpr int kThreads = 256;
constexpr int kLoads = kTile * kTile / kThreads;  // elements of a tile that a thread fetches

// Elements of a 32 x 32 piece of a matrix that a thread fetches, zero outside.
__device__ __forceinline__ void LoadTile(const float* matrix, int64_t rows, int64_t width,
                                         int64_t first_row, int64_t first_k, float* out) {
  const int64_t k = first_k + threadIdx.x % kTile;
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const int64_t row = first_row + threadIdx.x / kTile + i * (kThreads / kTile);
    out[i] = row < rows && k < width ? matrix[row * width + k] : 0.f;
  }
}

struct F32Product {
  int64_t rows, out, in;
  const float *x, *weight, *bias;
  float* y;
  bool accumulate;
};

__global__ void __launch_bounds__(kThreads) F32Kernel(const __grid_constant__ F32Product args) {
  __shared__ float x_tile[kTile][kTile + 1], w_tile[kTile][kTile + 1];
  const int64_t first_feature = int64_t{blockIdx.x} * kTile;
  const int64_t first_row = int64_t{blockIdx.y} * kTile;
  const int column = static_cast<int>(threadIdx.x % 16), line = static_cast<int>(threadIdx.x / 16);
  float sum[2][2] = {};  // [row line + 16 r][feature column + 16 f]
  float next_x[kLoads], next_w[kLoads];
  LoadTile(args.x, args.rows, args.in, first_row, 0, next_x);
  LoadTile(args.weight, args.out, args.in, first_feature, 0, next_w);
  for (int64_t k = 0; k < args.in; k += kTile) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const unsigned row = threadIdx.x / kTile + i * (kThreads / kTile);
      x_tile[row][threadIdx.x % kTile] = next_x[i];
      w_tile[row][threadIdx.x % kTile] = next_w[i];
    }
    __syncthreads();
    // On their way while this tile is multiplied.
    LoadTile(args.x, args.rows, args.in, first_row, k + kTile, next_x);
    LoadTile(args.weight, args.out, args.in, first_feature, k + kTile, next_w);
#pragma unroll
    for (int i = 0; i < kTile; ++i) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int f = 0; f < 2; ++f) {
          sum[r][f] = fmaf(x_tile[line + 16 * r][i], w_tile[column + 16 * f][i], sum[r][f]);
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int f = 0; f < 2; ++f) {
      const int64_t row = first_row + line + 16 * r, feature = first_feature + column + 16 * f;
      if (row >= args.rows || feature >= args.out) continue;
      float value = sum[r][f];
      if (args.bias != nullptr) value += args.bias[feature];
      float* y = args.y + row * args.out + feature;
      *y = args.accumulate ? *y + value : value;
    }
  }
}

}  // namespace

Status LinearF32(Stream stream, const ops::LinearArgs& args, const float* weight, int64_t out,
                 int64_t in) {
  if (args.rows == 0) return OkStatus();
  const dim3 grid(static_cast<unsigned>(RoundUp(out, kTile) / kTile),
                  static_cast<unsigned>(RoundUp(args.rows, kTile) / kTile));
  F32Kernel<<<grid, kThreads, 0, stream>>>({.rows = args.rows,
                                            .out = out,
                                            .in = in,
                                            .x = args.x,
                                            .weight = weight,
                                            .bias = args.bias,
                                            .y = args.y,
                                            .accumulate = args.accumulate});
  return LaunchStatus("a linear layer in f32");
}

}  // namespace tessera::cuda
