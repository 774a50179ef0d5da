// What becomes of the sums of a product: parts of a band are handed to the pair of blocks that ends
// it, added up in order, scaled, and written as the step asks, all from registers.
#pragma once

#include <cuda_bf16.h>

#include "tessera/backend/cuda/linear_program.cuh"

namespace tessera::cuda {

// Between the warps that compute the factors of the norms and the consumers: named barriers of
// both.
inline constexpr int kScalers = 64;
template <int kBarrier>
struct Handover {
  static __device__ __forceinline__ void Arrive() {
    asm volatile("bar.arrive %0, %1;" ::"n"(kBarrier), "n"(kConsumers + kScalers) : "memory");
  }
  static __device__ __forceinline__ void Wait() {
    asm volatile("bar.sync %0, %1;" ::"n"(kBarrier), "n"(kConsumers + kScalers) : "memory");
  }
};
using ScalesReady = Handover<4>;
using ScalesUsed = Handover<5>;
__device__ __forceinline__ void ScalersSync() {
  asm volatile("bar.sync 6, %0;" ::"n"(kScalers) : "memory");
}

// The consumers' side: factors are waited for once per tile of rows.
class ScalesOfTile {
 public:
  __device__ __forceinline__ void Need(const LinearStep& step) {
    if (step.square_sums == nullptr || ready_) return;
    ScalesReady::Wait();
    ready_ = true;
  }
  __device__ __forceinline__ void Release(const LinearStep& step) {
    if (step.square_sums != nullptr) ScalesUsed::Arrive();
    ready_ = false;
  }

 private:
  bool ready_ = false;
};

// rsqrt(mean square + eps) of the rows of a tile into scales[0..tile rows), from the square sums of
// 64 inputs each: eight sums of every eighth, added in order, whatever the number of rows. By the
// kScalers threads; `scales` has room for [8][tile rows].
template <int kTileRows>
__device__ __forceinline__ void NormFactors(const LinearStep& step, int padded_rows, int first_row,
                                            float* scales) {
  const int count = static_cast<int>((step.weight.in + 63) / 64);
  const int thread = static_cast<int>(threadIdx.x % kScalers);
  for (int i = thread; i < 8 * kTileRows; i += kScalers) {
    const int row = first_row + i % kTileRows;
    float sum = 0;
    if (row < padded_rows) {
#pragma unroll 8
      for (int at = i / kTileRows; at < count; at += 8) {
        sum += step.square_sums[static_cast<int64_t>(at) * padded_rows + row];
      }
    }
    scales[i] = sum;
  }
  ScalersSync();
  for (int row = thread; row < kTileRows; row += kScalers) {
    float sum = scales[row];
#pragma unroll
    for (int i = 1; i < 8; ++i) sum += scales[i * kTileRows + row];
    scales[row] = rsqrtf(sum / static_cast<float>(step.weight.in) + step.eps);
  }
}

__device__ __forceinline__ BF16 ToBF16(float value) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

// The sums of a piece, in memory: for the pair of blocks that closes a band which several runs
// share, and, of many rows, for the warpgroup itself, since registers cannot be chosen by a loop.
// As lanes hold them: [8 rows][thread] of four values.
template <int kTileRows>
class PartsOfTile {
 public:
  static constexpr int kGroups = kTileRows / 8;

  // `tile`: the number of tiles before this one, of all products.
  __device__ __forceinline__ PartsOfTile(const LinearProgram& program, int group, uint32_t tile)
      : program_(program), group_(group), tile_(tile) {}

  // The open piece of run `run`.
  template <int kHalves, int kSums>
  __device__ __forceinline__ void Write(int run, const float (&sums)[kHalves][kSums]) const {
    if (tile_ >= 2) {  // tiles take turns in two buffers; who needed what this one held has it
      if (threadIdx.x % 128 == 0) WaitForTiles(program_, tile_ - 1);
      WarpgroupSync();
    }
    Store(Part(run), sums);
    WarpgroupSync();
    if (threadIdx.x % 128 == 0) StoreRelease(Written(run), 1);
  }

  // Until the parts of the runs [first, end) are there. Each is waited for once.
  __device__ __forceinline__ void Await(int first, int end) const {
    for (int run = first + static_cast<int>(threadIdx.x % 128); run < end; run += 128) {
      while (LoadAcquire(Written(run)) == 0) {
      }
      *Written(run) = 0;
    }
    WarpgroupSync();
  }

  // For this thread alone.
  template <int kHalves, int kSums>
  __device__ __forceinline__ void Keep(const float (&sums)[kHalves][kSums]) const {
    Store(Own(), sums);
  }
  template <int kCount>
  __device__ __forceinline__ void LoadKept(int j, float (&sums)[kCount][4]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float4 value = __ldcg(Own() + (j + i) * 128);
      sums[i][0] = value.x, sums[i][1] = value.y, sums[i][2] = value.z, sums[i][3] = value.w;
    }
  }

  // sums = the parts of the runs [first, end), in order, + sums, of groups j, j + 1, ... of 8 rows.
  template <int kCount>
  __device__ __forceinline__ void AddTo(int first, int end, int j, float (&sums)[kCount][4]) const {
    float4 sum[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum[i] = make_float4(0, 0, 0, 0);
#pragma unroll 2
    for (int run = first; run < end; ++run) {
      const float4* part = Part(run) + j * 128;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float4 more = __ldcg(part + i * 128);
        sum[i].x += more.x, sum[i].y += more.y, sum[i].z += more.z, sum[i].w += more.w;
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      sums[i][0] += sum[i].x, sums[i][1] += sum[i].y;
      sums[i][2] += sum[i].z, sums[i][3] += sum[i].w;
    }
  }

 private:
  template <int kHalves, int kSums>
  static __device__ __forceinline__ void Store(float4* to, const float (&sums)[kHalves][kSums]) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
#pragma unroll
      for (int i = 0; i < kSums; i += 4) {
        to[(half * kSums + i) / 4 * 128] =
            make_float4(sums[half][i], sums[half][i + 1], sums[half][i + 2], sums[half][i + 3]);
      }
    }
  }
  // Buffers: those of even and odd tiles, and the warpgroup's own.
  __device__ __forceinline__ float4* Buffer(int buffer, int run) const {
    const int64_t part = static_cast<int64_t>(buffer) * (gridDim.x / 2) + run;
    return program_.parts + (part * 4 + group_) * (kGroups * 128) + threadIdx.x % 128;
  }
  __device__ __forceinline__ float4* Part(int run) const {
    return Buffer(static_cast<int>(tile_ % 2), run);
  }
  __device__ __forceinline__ float4* Own() const {
    return Buffer(2, static_cast<int>(blockIdx.x / 2));
  }
  __device__ __forceinline__ uint32_t* Written(int run) const {
    return &program_.signals->written[tile_ % 2][run][group_];
  }

  const LinearProgram& program_;
  const int group_;
  const uint32_t tile_;
};

// What becomes of the sums of 64 features of a band and a tile of rows, by a warpgroup. Lane 4 g +
// t of warp w holds features 16 w + g and 16 w + g + 8 of rows 8 j + 2 t and 8 j + 2 t + 1, as
// [feature][row]. Little code, since it runs once per product and has to be fetched every time.
template <int kTileRows>
class FinishBand {
 public:
  // Groups of 8 rows that are finished together, so that their loads overlap.
  static constexpr int kTogether = kTileRows < 32 ? kTileRows / 8 : 4;

  __device__ __forceinline__ FinishBand(const LinearProgram& program, const LinearStep& step,
                                        int first_row, int band, int group)
      : step_(step),
        rows_(program.rows - first_row),
        padded_rows_(program.padded_rows),
        first_row_(first_row),
        group_(band * 4 + group),
        out_(static_cast<int>(step.weight.out)) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    warp_ = static_cast<int>(threadIdx.x / 32 % 4);
    row_ = 2 * (lane % 4);
    feature_ = static_cast<int>(step.feature_begin) + group_ * 64 + warp_ * 16 + lane / 4;
    const int end = step.feature_end < 0 ? out_ : static_cast<int>(step.feature_end);
    known_[0] = feature_ < end;
    known_[1] = feature_ + 8 < end;
    source_[0] = feature_;
    source_[1] = feature_ + 8;
    if (step.weight.paired) {
      source_[0] = static_cast<int>(PairedRow(feature_, out_ / 2));
      source_[1] = source_[0] + out_ / 2;
    }
#pragma unroll
    for (int f = 0; f < 2; ++f) {
      const float* scales = step.weight.feature_scales;
      bias_[f] = step.bias != nullptr && known_[f] ? __ldg(step.bias + source_[f]) : 0.f;
      factor_[f] = scales == nullptr ? 1.f : known_[f] ? __ldg(scales + feature_ + 8 * f) : 0.f;
      norm_weight_[f] = step.norm_weight != nullptr && known_[f]
                            ? __ldg(step.norm_weight + feature_ + 8 * f)
                            : 0.f;
    }
  }

  // Groups of 8 rows that this tile has: of 256 rows, half may be missing.
  __device__ __forceinline__ int NumGroups() const {
    return min(kTileRows, padded_rows_ - first_row_) / 8;
  }

  // Residual steps: before Finish of the same groups, so that the loads overlap with others.
  __device__ __forceinline__ void LoadHidden(int j) {
    if (step_.output != LinearStep::Output::kResidual) return;
    const float* from = step_.hidden + int64_t{first_row_ + j * 8 + row_} * out_ + feature_;
#pragma unroll
    for (int at = 0; at < kTogether; ++at) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = at * 8 + i % 2;
        // Other blocks wrote them in this launch: not through the first cache.
        hidden_[at][i] = Known(j, at, i) ? __ldcg(from + int64_t{row} * out_ + i / 2 * 8) : 0.f;
      }
    }
  }

  // Groups j, j + 1, .... `scales`: of the rows, for steps with square_sums; `squares`: [8][tile
  // rows] of scratch memory.
  __device__ __forceinline__ void Finish(int j, float (&sums)[kTogether][4], const float* scales,
                                         float* squares) {
#pragma unroll
    for (int at = 0; at < kTogether; ++at) {
      float(&value)[4] = sums[at];
      float2 scale = {1, 1};
      if (step_.square_sums != nullptr) {
        scale = *reinterpret_cast<const float2*>(scales + (j + at) * 8 + row_);
      }
      value[0] = fmaf(value[0] * factor_[0], scale.x, bias_[0]);
      value[1] = fmaf(value[1] * factor_[0], scale.y, bias_[0]);
      value[2] = fmaf(value[2] * factor_[1], scale.x, bias_[1]);
      value[3] = fmaf(value[3] * factor_[1], scale.y, bias_[1]);
    }
    switch (step_.output) {
      case LinearStep::Output::kRows: StoreRows(j, sums); break;
      case LinearStep::Output::kSilu: StoreSilu(j, sums); break;
      case LinearStep::Output::kResidual: AddResidual(j, sums, squares); break;
    }
  }

  // After all groups.
  __device__ __forceinline__ void End(float* squares) const {
    if (step_.output != LinearStep::Output::kResidual || step_.norm_weight == nullptr) return;
    WarpgroupSync();
    const float* of_warps = squares + threadIdx.x / 128 % 2 * (4 * kTileRows);
    const int rows = NumGroups() * 8;
    for (int row = static_cast<int>(threadIdx.x % 128); row < rows; row += 128) {
      if (group_ * 64 >= out_) break;
      step_.out_square_sums[static_cast<int64_t>(group_) * padded_rows_ + first_row_ + row] =
          of_warps[row] + of_warps[kTileRows + row] + of_warps[2 * kTileRows + row] +
          of_warps[3 * kTileRows + row];
    }
    WarpgroupSync();
  }

 private:
  __device__ __forceinline__ bool Known(int j, int at, int i) const {
    return known_[i / 2] && (j + at) * 8 + row_ + i % 2 < rows_;
  }

  __device__ __forceinline__ void StoreRows(int j, const float (&sums)[kTogether][4]) const {
    float* y = step_.y + (first_row_ + j * 8 + row_) * step_.stride - step_.feature_begin;
#pragma unroll
    for (int at = 0; at < kTogether; ++at) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (!Known(j, at, i)) continue;
        float* to = y + (at * 8 + i % 2) * step_.stride + source_[i / 2];
        *to = step_.accumulate ? __ldcg(to) + sums[at][i] : sums[at][i];
      }
    }
  }

  // Features 0..7 of 16 are gates, the others belong to them.
  __device__ __forceinline__ void StoreSilu(int j, const float (&sums)[kTogether][4]) const {
    const int half_out = out_ / 2;
    BF16* packed =
        step_.packed + ActivationIndex(first_row_ + j * 8 + row_, feature_ / 16 * 8 + feature_ % 8,
                                       padded_rows_, half_out);
    // Inputs are padded to whole bands of what is multiplied next: twice as many as ours.
    const bool pads = (group_ / 4 + 1) * kBand >= out_ && group_ / 4 % 2 == 0;
    const int64_t padding = ActivationIndex(0, 128, padded_rows_, half_out);
#pragma unroll
    for (int at = 0; at < kTogether; ++at) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float gate = sums[at][r];
        const float silu = __fdividef(gate, 1.f + __expf(-gate)) * sums[at][2 + r];
        BF16* to = packed + Place(at, r);
        *to = known_[1] ? ToBF16(silu) : BF16{0};
        if (pads) to[padding] = 0;
      }
    }
  }

  __device__ __forceinline__ void AddResidual(int j, float (&sums)[kTogether][4], float* squares) {
    float* to = step_.hidden + int64_t{first_row_ + j * 8 + row_} * out_ + feature_;
    BF16* packed =
        step_.packed + ActivationIndex(first_row_ + j * 8 + row_, feature_, padded_rows_, out_);
    const int64_t eight = ActivationIndex(0, 8, padded_rows_, out_);
    float* of_warp = squares + (threadIdx.x / 128 % 2 * 4 + warp_) * kTileRows + j * 8 + row_;
#pragma unroll
    for (int at = 0; at < kTogether; ++at) {
      float(&value)[4] = sums[at];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool known = Known(j, at, i);
        value[i] = known ? hidden_[at][i] + value[i] : 0.f;
        if (known) to[int64_t{at * 8 + i % 2} * out_ + i / 2 * 8] = value[i];
      }
      if (step_.norm_weight == nullptr) continue;
      float square[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        BF16* place = packed + Place(at, r);
        place[0] = ToBF16(value[r] * norm_weight_[0]);
        place[eight] = ToBF16(value[2 + r] * norm_weight_[1]);
        square[r] = value[r] * value[r] + value[2 + r] * value[2 + r];
#pragma unroll
        for (int mask = 4; mask < 32; mask *= 2) {
          square[r] += __shfl_xor_sync(0xffffffff, square[r], mask);
        }
      }
      if (threadIdx.x % 32 < 4) {
        *reinterpret_cast<float2*>(of_warp + at * 8) = make_float2(square[0], square[1]);
      }
    }
  }

  // Of row 8 at + r in packed activations. The groups of a call lie in the same
  // tile of packed activations, as they are a power of two.
  static __device__ __forceinline__ int Place(int at, int r) { return (at * 8 + r) * 8; }

  const LinearStep& step_;
  const int rows_, padded_rows_;  // rows from first_row; of all
  const int first_row_;
  const int group_;  // of 64 features
  const int out_;
  int warp_, row_, feature_;  // row_: in groups of 8
  bool known_[2];             // features: not padding
  int source_[2];             // before rows were paired
  // Of the features; loaded before they are needed, as memory is busy with weights.
  float bias_[2], factor_[2], norm_weight_[2];
  float hidden_[kTogether][4];
};

}  // namespace tessera::cuda
