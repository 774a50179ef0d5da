// Row records into stages: a block permutes one stage of half a band in shared memory, reading
// along the inputs and writing whole words.
#include "tessera/backend/cuda/launch.cuh"
#include "tessera/backend/cuda/row_record.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMostStageBytes = 16384 + 2 * kHalfBand + 2 * 8 * kHalfBand;  // int4, groups of 32

__global__ void __launch_bounds__(kThreads)
    PackStage(ops::WeightFormat format, StageLayout layout, RowRecord record, int64_t in,
              const unsigned char* __restrict__ records, unsigned char* __restrict__ to) {
  __shared__ __align__(16) unsigned char stage[kMostStageBytes];
  const int64_t index = blockIdx.x, half = blockIdx.y, first_input = index * layout.inputs;
  const auto row_of = [&](int64_t f) { return records + (half * kHalfBand + f) * record.bytes; };
  const auto count = static_cast<int32_t>(kHalfBand) * layout.inputs;
  switch (format.type) {
    case ops::WeightType::kF32: break;  // not staged
    case ops::WeightType::kBF16:
      for (int32_t i = threadIdx.x; i < count; i += kThreads) {
        const int32_t f = i / layout.inputs, k = i % layout.inputs;
        const auto* row = reinterpret_cast<const uint16_t*>(row_of(f));
        reinterpret_cast<uint16_t*>(stage)[ElementBF16(f, k)] = row[first_input + k];
      }
      break;
    case ops::WeightType::kF8:
    case ops::WeightType::kInt8:
      for (int32_t i = threadIdx.x; i < count; i += kThreads) {
        const int32_t f = i / layout.inputs, k = i % layout.inputs;
        stage[ElementByte(f, k)] = row_of(f)[first_input + k];
      }
      break;
    case ops::WeightType::kInt4:
      // A byte holds the same input of features f and f + 8.
      for (int32_t i = threadIdx.x; i < count / 2; i += kThreads) {
        const int32_t pair = i / layout.inputs, k = i % layout.inputs;
        const int32_t f = pair / 8 * 16 + pair % 8;
        const uint32_t low = row_of(f)[first_input + k] + 8u;
        const uint32_t high = row_of(f + 8)[first_input + k] + 8u;
        stage[ElementNibble(f, k) / 2] = static_cast<unsigned char>((low & 15) | (high & 15) << 4);
      }
      break;
  }
  // [inputs / unit][128] of each of the arrays behind the elements.
  const auto spread = [&](int32_t at, int32_t end, int64_t from, int32_t unit, int32_t size) {
    for (int32_t i = threadIdx.x; i < (end - at) / size; i += kThreads) {
      const int32_t f = i % kHalfBand, group = i / kHalfBand;
      const unsigned char* value = row_of(f) + from + (first_input / unit + group) * size;
      for (int32_t byte = 0; byte < size; ++byte) stage[at + i * size + byte] = value[byte];
    }
  };
  spread(layout.scales_at, layout.ratios_at, record.scales_at, layout.scale_inputs, 2);
  spread(layout.ratios_at, layout.offsets_at, record.ratios_at, layout.group, 1);
  spread(layout.offsets_at, layout.bytes, record.offsets_at, layout.group, 1);
  __syncthreads();
  auto* words = reinterpret_cast<uint4*>(to + StageOffset(layout, in, 0, half, index));
  for (int32_t i = threadIdx.x; i < layout.bytes / 16; i += kThreads) {
    words[i] = reinterpret_cast<const uint4*>(stage)[i];
  }
}

}  // namespace

Status PackBand(CUstream_st* stream, const ops::WeightFormat& format, int64_t in,
                const std::byte* records, std::byte* to) {
  const StageLayout layout = LayoutOf(format);
  const dim3 grid(static_cast<unsigned>(NumStages(layout, in)), 2);
  PackStage<<<grid, kThreads, 0, stream>>>(format, layout, RowRecord(format, in), in,
                                           reinterpret_cast<const unsigned char*>(records),
                                           reinterpret_cast<unsigned char*>(to));
  return LaunchStatus("PackBand");
}

}  // namespace tessera::cuda
