// Products without wgmma: bf16 on the tensor cores of sm_80 and up, read straight from packed
// operands, whose order is that of the fragments of mma.sync.
#include "tessera/backend/cuda/launch.cuh"
#include "tessera/backend/cuda/linear_decode.cuh"
#include "tessera/backend/cuda/linear_plain.h"

namespace tessera::cuda {
namespace {

using ops::WeightType;
using Output = LinearStep::Output;

// A block multiplies 16 features with up to 64 rows. Its warps sum every eighth stage each; the
// eight sums are added in order, whatever the number of rows.
constexpr int kFeatures = 16, kWarps = 8, kMaxRowGroups = 8;

// Inputs that one load of a lane brings: 16 bytes of 4- and 8-bit weights.
__host__ __device__ constexpr int LoadInputs(WeightType type) {
  return type == WeightType::kBF16 ? 16 : type == WeightType::kInt4 ? 64 : 32;
}

// d += a b for 16 features x 16 inputs x 8 rows.
__device__ __forceinline__ void Multiply(const uint32_t* a, uint32_t b0, uint32_t b1, float* d) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The stages of one half band, as a warp reads 16 features of them.
template <WeightType kType>
struct Fragments {
  StageLayout layout;
  bool symmetric;
  const unsigned char* data;
  int first;  // of the 16 features, in the half band
  int lane;

  __device__ __forceinline__ Fragments(const WeightView& weight, int feature)
      : layout(LayoutOf({kType, weight.format.group, weight.format.symmetric})),
        symmetric(weight.format.symmetric),
        data(static_cast<const unsigned char*>(weight.data) +
             StageOffset(layout, weight.in, feature / kBand, feature % kBand / kHalfBand, 0)),
        first(static_cast<int>(feature % kHalfBand)),
        lane(static_cast<int>(threadIdx.x % 32)) {}

  // The A operands of the steps of inputs [k, k + LoadInputs) of a stage, four words each.
  __device__ __forceinline__ void Load(const unsigned char* stage, int k, uint32_t* a) const {
    if constexpr (kType == WeightType::kBF16) {
      const auto word = [&](int f, int input) {
        return __ldg(reinterpret_cast<const uint32_t*>(
            stage + 2 * ElementBF16(first + lane / 4 + f, k + input + lane % 4 * 2)));
      };
      a[0] = word(0, 0), a[1] = word(8, 0), a[2] = word(0, 8), a[3] = word(8, 8);
    } else {
      const uint4 words = __ldg(reinterpret_cast<const uint4*>(stage) +
                                (k / LoadInputs(kType) * 8 + first / 16) * 32 + lane);
      if constexpr (kType == WeightType::kInt4) {
        const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {  // a group has at least 32 inputs
          const Int4Table low = Table(stage, k + 32 * pair, 0);
          const Int4Table high = Table(stage, k + 32 * pair, 8);
          DecodeInt4<true>(word[2 * pair], low, high, a + 8 * pair);
          DecodeInt4<true>(word[2 * pair + 1], low, high, a + 8 * pair + 4);
        }
      } else if constexpr (kType == WeightType::kInt8) {
        DecodeInt8(words.x, words.y, a);
        DecodeInt8(words.z, words.w, a + 4);
      } else {
        DecodeF8(words.x, words.y, a);
        DecodeF8(words.z, words.w, a + 4);
      }
    }
  }

  // The scale of feature `f` or `f + 8` of the lane, of integer formats.
  __device__ __forceinline__ float Scale(const unsigned char* stage, int k, int f) const {
    const int64_t at = k / layout.scale_inputs * kHalfBand + first + lane / 4 + f;
    return StoredScaleValue(stage + layout.scales_at + 2 * at);
  }

 private:
  __device__ __forceinline__ Int4Table Table(const unsigned char* stage, int k, int f) const {
    const int64_t at = k / layout.group * kHalfBand + first + lane / 4 + f;
    return Int4Table(static_cast<signed char>(stage[layout.ratios_at + at]),
                     symmetric ? static_cast<signed char>(0)
                               : static_cast<signed char>(stage[layout.offsets_at + at]));
  }
};

// The sums of a warp: for every group of 8 rows, features g and g + 8 of rows 2t and 2t + 1, where
// the lane is 4 g + t.
template <WeightType kType, int kRowGroups>
__device__ __forceinline__ void SumStages(const LinearStep& step, int feature, int first_row,
                                          int padded_rows, float (&sum)[kRowGroups][4]) {
  constexpr bool kScaled = kType == WeightType::kInt8 || kType == WeightType::kInt4;
  constexpr int kLoad = LoadInputs(kType);
  const Fragments<kType> weight(step.weight, feature);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int stages = static_cast<int>(NumStages(weight.layout, step.weight.in));
  const int tile_rows = min(padded_rows, static_cast<int>(kRowTile));
  const BF16* x =
      step.x + ActivationIndex(first_row + lane / 4, lane % 4 * 2, padded_rows, step.weight.in);
  float part[kRowGroups][4] = {};  // of inputs with one scale
  for (int s = static_cast<int>(threadIdx.x / 32); s < stages; s += kWarps) {
    const unsigned char* stage = weight.data + int64_t{s} * weight.layout.bytes;
    const int inputs = weight.layout.inputs;
#pragma unroll 2
    for (int k = 0; k < inputs; k += kLoad) {
      uint32_t a[kLoad / 16][4];
      weight.Load(stage, k, a[0]);
#pragma unroll
      for (int i = 0; i < kLoad / 16; ++i) {
        // Blocks of 8 inputs follow one another at tile_rows * 8, through all chunks.
        const BF16* from = x + (int64_t{s} * inputs + k + i * 16) * tile_rows;
#pragma unroll
        for (int j = 0; j < kRowGroups; ++j) {
          const auto* low = reinterpret_cast<const uint32_t*>(from + j * 64);
          Multiply(a[i], __ldg(low), __ldg(low + tile_rows * 4), kScaled ? part[j] : sum[j]);
        }
      }
      if constexpr (kScaled) {
        if ((k + kLoad) % weight.layout.scale_inputs != 0) continue;
        const float scale[2] = {weight.Scale(stage, k, 0), weight.Scale(stage, k, 8)};
#pragma unroll
        for (int j = 0; j < kRowGroups; ++j) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            sum[j][i] = fmaf(part[j][i], scale[i / 2], sum[j][i]);
            part[j][i] = 0;
          }
        }
      }
    }
  }
}

// rsqrt(mean square + eps) of rows row and row + 1, where `row` is the same for all lanes 4 g + t
// with one t. Eight sums of every eighth, added in order.
__device__ __forceinline__ float2 NormFactors(const LinearStep& step, int row, int padded_rows) {
  float2 sum = {0, 0};
  const int count = static_cast<int>((step.weight.in + 63) / 64);
  for (int i = static_cast<int>(threadIdx.x % 32 / 4); i < count; i += 8) {
    const float* at = step.square_sums + int64_t{i} * padded_rows + row;
    sum.x += at[0];
    sum.y += at[1];
  }
#pragma unroll
  for (int mask = 4; mask < 32; mask *= 2) {
    sum.x += __shfl_xor_sync(0xffffffff, sum.x, mask);
    sum.y += __shfl_xor_sync(0xffffffff, sum.y, mask);
  }
  const auto width = static_cast<float>(step.weight.in);
  return {rsqrtf(sum.x / width + step.eps), rsqrtf(sum.y / width + step.eps)};
}

// What the step makes of 16 features of 8 rows, by one warp. A lane's `sum`: as in SumStages.
__device__ __forceinline__ void FinishRows(const LinearStep& step, int first_feature, int first_row,
                                           int rows, int padded_rows, const float* sum) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int out = static_cast<int>(step.weight.out);
  const int row = first_row + lane % 4 * 2;
  const float2 factors =
      step.square_sums != nullptr ? NormFactors(step, row, padded_rows) : make_float2(1, 1);
  float value[2][2];  // [feature][row]
#pragma unroll
  for (int f = 0; f < 2; ++f) {
    const int feature = first_feature + lane / 4 + 8 * f;
    const bool known = feature < out;
    const int source = step.weight.paired ? static_cast<int>(PairedRow(feature, out / 2)) : feature;
    const float scale =
        known && step.weight.feature_scales != nullptr ? step.weight.feature_scales[feature] : 1.f;
    const float bias = known && step.bias != nullptr ? step.bias[source] : 0.f;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float factor = r == 0 ? factors.x : factors.y;
      value[f][r] = fmaf(sum[2 * f + r] * scale, factor, bias);
      if (!known || row + r >= rows) continue;
      if (step.output == Output::kRows) {
        float* y = step.y + (row + r) * step.stride + source - step.feature_begin;
        *y = step.accumulate ? *y + value[f][r] : value[f][r];
      } else if (step.output == Output::kResidual) {
        step.hidden[int64_t{row + r} * out + feature] += value[f][r];
      }
    }
  }
  if (step.output != Output::kSilu) return;
  const int at = first_feature / 2 + lane / 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float gate = value[0][r];
    const float v = first_feature < out ? gate / (1.f + expf(-gate)) * value[1][r] : 0.f;
    step.packed[ActivationIndex(row + r, at, padded_rows, out / 2)] =
        __bfloat16_as_ushort(__float2bfloat16_rn(v));
  }
}

// Blocks [groups of kFeatures, groups of 8 * kRowGroups rows].
template <WeightType kType, int kRowGroups>
__global__ void __launch_bounds__(kWarps * 32)
    PlainKernel(const __grid_constant__ LinearStep step, int rows, int padded_rows) {
  __shared__ float4 sums[kWarps][kRowGroups][32];
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int feature = static_cast<int>(step.feature_begin + blockIdx.x * kFeatures);
  const int first_row = static_cast<int>(blockIdx.y) * 8 * kRowGroups;
  float sum[kRowGroups][4] = {};
  // Beyond the features is the padding of packed outputs.
  if (feature < step.weight.out) {
    SumStages<kType, kRowGroups>(step, feature, first_row, padded_rows, sum);
  }
#pragma unroll
  for (int j = 0; j < kRowGroups; ++j) {
    sums[warp][j][lane] = make_float4(sum[j][0], sum[j][1], sum[j][2], sum[j][3]);
  }
  __syncthreads();
  if (warp >= kRowGroups) return;
  float total[4] = {};
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const float4 part = sums[w][warp][lane];
    total[0] += part.x, total[1] += part.y, total[2] += part.z, total[3] += part.w;
  }
  FinishRows(step, feature, first_row + warp * 8, rows, padded_rows, total);
}

template <WeightType kType, int kRowGroups>
Status Launch(Stream stream, int64_t rows, const LinearStep& step) {
  static_assert(kRowGroups <= kMaxRowGroups && kMaxRowGroups <= kWarps);
  const int64_t padded_rows = PaddedRows(rows);
  const int64_t end = step.output == Output::kSilu ? 2 * PaddedInputs(step.weight.out / 2)
                      : step.feature_end < 0       ? step.weight.out
                                                   : step.feature_end;
  const dim3 grid(static_cast<unsigned>(RoundUp(end - step.feature_begin, kFeatures) / kFeatures),
                  static_cast<unsigned>(padded_rows / (8 * kRowGroups)));
  PlainKernel<kType, kRowGroups><<<grid, kWarps * 32, 0, stream>>>(step, static_cast<int>(rows),
                                                                   static_cast<int>(padded_rows));
  return LaunchStatus("a linear layer");
}

template <WeightType kType>
Status LaunchRows(Stream stream, int64_t rows, const LinearStep& step) {
  if (rows <= 8) return Launch<kType, 1>(stream, rows, step);
  if (rows <= 16) return Launch<kType, 2>(stream, rows, step);
  if (rows <= 32) return Launch<kType, 4>(stream, rows, step);
  return Launch<kType, kMaxRowGroups>(stream, rows, step);
}

Status LaunchStep(Stream stream, int64_t rows, const LinearStep& step) {
  switch (step.weight.format.type) {
    case WeightType::kF32: break;  // LinearF32
    case WeightType::kBF16: return LaunchRows<WeightType::kBF16>(stream, rows, step);
    case WeightType::kF8: return LaunchRows<WeightType::kF8>(stream, rows, step);
    case WeightType::kInt8: return LaunchRows<WeightType::kInt8>(stream, rows, step);
    case WeightType::kInt4: return LaunchRows<WeightType::kInt4>(stream, rows, step);
  }
  return FromCuda(cudaErrorInvalidValue, "f32 weights have no packed activations");
}

}  // namespace

Status LinearsPlain(Stream stream, const Gpu&, int64_t rows, std::span<const LinearStep> steps) {
  if (rows == 0) return OkStatus();
  for (const LinearStep& step : steps) {
    TESSERA_RETURN_IF_ERROR(LaunchStep(stream, rows, step));
    if (step.output != Output::kResidual || step.norm_weight == nullptr) continue;
    TESSERA_RETURN_IF_ERROR(NormPack(stream, {.rows = rows,
                                              .width = step.weight.out,
                                              .hidden = step.hidden,
                                              .norm_weight = step.norm_weight,
                                              .packed = step.packed,
                                              .square_sums = step.out_square_sums}));
  }
  return OkStatus();
}

}  // namespace tessera::cuda
