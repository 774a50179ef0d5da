// The plain operations on f32 rows. A row's result depends on that row alone.
#include <algorithm>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/launch.cuh"
#include "tessera/backend/cuda/packed_weight.cuh"
#include "tessera/backend/cuda/stores.cuh"
#include "tessera/backend/cuda/sums.cuh"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;

// Blocks [rows, pieces of a row]: few elements per thread, as rows are few.
dim3 RowGrid(int64_t rows, int64_t width) {
  return dim3(static_cast<unsigned>(rows),
              static_cast<unsigned>(std::min<int64_t>(RoundUp(width, kThreads) / kThreads, 64)));
}
// for (int64_t i = FirstColumn(); i < width; i += ColumnStride())
__device__ __forceinline__ int64_t FirstColumn() {
  return int64_t{blockIdx.y} * kThreads + threadIdx.x;
}
__device__ __forceinline__ int64_t ColumnStride() { return int64_t{gridDim.y} * kThreads; }

template <ops::WeightType kType>
__global__ void __launch_bounds__(kThreads)
    EmbedKernel(const __grid_constant__ WeightView table, const int32_t* tokens, float* out) {
  AllowSuccessor();
  const int width = static_cast<int>(table.in);
  const int k = static_cast<int>(FirstColumn()) * kWeightBlock;
  float value[kWeightBlock];
  if (k < width) LoadWeights<kType>(table, tokens[blockIdx.x], k, value);
  WaitForPredecessor();
  if (k >= width) return;
  float* const to = out + int64_t{blockIdx.x} * width + k;
  if (k + kWeightBlock <= width && reinterpret_cast<uintptr_t>(to) % 16 == 0) {
    StoreFour(to, value);
    StoreFour(to + 4, value + 4);
  } else {
#pragma unroll
    for (int i = 0; i < kWeightBlock; ++i) {
      if (k + i < width) to[i] = value[i];
    }
  }
}

// A block per row. Threads write only what they alone have read: `out` may alias `x`.
__global__ void __launch_bounds__(kThreads)
    RmsNormKernel(const float* x, const float* weight, float eps, int64_t width, float* out) {
  AllowSuccessor();
  WaitForPredecessor();
  const float* from = x + blockIdx.x * width;
  float* to = out + blockIdx.x * width;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) squares = fmaf(from[i], from[i], squares);
  const float mean = BlockSum<kThreads>(squares) / static_cast<float>(width);
  const float scale = 1.f / sqrtf(mean + eps);
  for (int64_t i = threadIdx.x; i < width; i += kThreads) to[i] = from[i] * scale * weight[i];
}

__global__ void __launch_bounds__(kThreads)
    SiluMulKernel(const float* gate_up, int64_t width, float* out) {
  AllowSuccessor();
  WaitForPredecessor();
  const float* gate = gate_up + blockIdx.x * 2 * width;
  for (int64_t i = FirstColumn(); i < width; i += ColumnStride()) {
    out[blockIdx.x * width + i] = gate[i] / (1.f + expf(-gate[i])) * gate[width + i];
  }
}

__global__ void __launch_bounds__(kThreads)
    GatherRowsKernel(const int32_t* rows, int64_t width, const float* x, float* out) {
  AllowSuccessor();
  WaitForPredecessor();
  const float* from = x + rows[blockIdx.x] * width;
  for (int64_t i = FirstColumn(); i < width; i += ColumnStride()) {
    out[blockIdx.x * width + i] = from[i];
  }
}

// The blocks of the first entry of a row add all entries of that row, in their order.
__global__ void __launch_bounds__(kThreads)
    AddRowsKernel(const int32_t* rows, const float* weights, int64_t count, int64_t width,
                  const float* x, float* out) {
  AllowSuccessor();
  WaitForPredecessor();
  const int64_t first = blockIdx.x;
  const int32_t row = rows[first];
  int listed_before = 0;
  for (int64_t i = threadIdx.x; i < first; i += kThreads) listed_before |= rows[i] == row;
  if (__syncthreads_or(listed_before)) return;
  for (int64_t column = FirstColumn(); column < width; column += ColumnStride()) {
    float sum = out[row * width + column];
    for (int64_t i = first; i < count; ++i) {
      if (rows[i] == row) sum = fmaf(weights[i], x[i * width + column], sum);
    }
    out[row * width + column] = sum;
  }
}

}  // namespace

Status EmbedRows(Stream stream, const WeightView& table, const int32_t* tokens, int64_t rows,
                 float* out) {
  if (rows == 0) return OkStatus();
  const auto launch = [&](auto kernel) {
    constexpr int64_t kColumns = int64_t{kThreads} * kWeightBlock;
    const dim3 grid(static_cast<unsigned>(rows),
                    static_cast<unsigned>(RoundUp(table.in, kColumns) / kColumns));
    return LaunchOverlapped("embedding", kernel, grid, kThreads, 0, stream, table, tokens, out);
  };
  switch (table.format.type) {
    case ops::WeightType::kF32: return launch(EmbedKernel<ops::WeightType::kF32>);
    case ops::WeightType::kBF16: return launch(EmbedKernel<ops::WeightType::kBF16>);
    case ops::WeightType::kF8: return launch(EmbedKernel<ops::WeightType::kF8>);
    case ops::WeightType::kInt8: return launch(EmbedKernel<ops::WeightType::kInt8>);
    case ops::WeightType::kInt4: return launch(EmbedKernel<ops::WeightType::kInt4>);
  }
  return OkStatus();
}

Status RmsNorm(Stream stream, const ops::RmsNormArgs& args) {
  if (args.rows == 0) return OkStatus();
  return LaunchOverlapped("RMSNorm", RmsNormKernel, static_cast<unsigned>(args.rows), kThreads, 0,
                          stream, args.x, args.weight, args.eps, args.width, args.out);
}

Status SiluMul(Stream stream, const ops::SiluMulArgs& args) {
  if (args.rows == 0) return OkStatus();
  return LaunchOverlapped("SiLU", SiluMulKernel, RowGrid(args.rows, args.width), kThreads, 0,
                          stream, args.gate_up, args.width, args.out);
}

Status GatherRows(Stream stream, const int32_t* rows, int64_t count, int64_t width, const float* x,
                  float* out) {
  if (count == 0) return OkStatus();
  return LaunchOverlapped("gathering rows", GatherRowsKernel, RowGrid(count, width), kThreads, 0,
                          stream, rows, width, x, out);
}

Status AddRows(Stream stream, const int32_t* rows, const float* weights, int64_t count,
               int64_t width, const float* x, float* out) {
  if (count == 0) return OkStatus();
  return LaunchOverlapped("adding rows", AddRowsKernel, RowGrid(count, width), kThreads, 0, stream,
                          rows, weights, count, width, x, out);
}

}  // namespace tessera::cuda
