// Linears: which kernel multiplies, and its launch.
#include <algorithm>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/launch.cuh"
#include "tessera/backend/cuda/linear_plain.h"
#include "tessera/backend/cuda/linear_stream.cuh"

namespace tessera::cuda {
namespace {

constexpr int64_t kCounterBytes = 256;

int64_t TileRows(int64_t padded_rows) { return std::min<int64_t>(padded_rows, 256); }

Kind KindOf(const WeightView& weight) {
  const ops::WeightFormat& format = weight.format;
  switch (format.type) {
    case ops::WeightType::kF32: break;  // LinearF32
    case ops::WeightType::kBF16: return Kind::kBF16;
    case ops::WeightType::kF8: return Kind::kF8;
    case ops::WeightType::kInt8: return format.group == 32 ? Kind::kInt8Fine : Kind::kInt8;
    case ops::WeightType::kInt4:
      return format.symmetric && !weight.saturates ? Kind::kInt4 : Kind::kInt4Offset;
  }
  return Kind::kBF16;
}

template <Kind kKind, int kTileRows>
Status Launch(Stream stream, const Gpu& gpu, const LinearProgram& program) {
  using Shape = StreamShape<kKind, kTileRows>;
  static_assert(Shape::kStages >= 2);
  const auto kernel = LinearStream<kKind, kTileRows>;
  TESSERA_CUDA_RETURN(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           Shape::kSharedBytes));
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {2, 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = static_cast<unsigned>(gpu.multiprocessors / 2 * 2);
  config.blockDim = kThreads;
  config.dynamicSmemBytes = Shape::kSharedBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  TESSERA_CUDA_RETURN(cudaLaunchKernelEx(&config, kernel, program));
  return OkStatus();
}

template <Kind kKind>
Status LaunchRows(Stream stream, const Gpu& gpu, const LinearProgram& program) {
  const int rows = program.padded_rows;
  if (rows <= 8) return Launch<kKind, 8>(stream, gpu, program);
  if (rows <= 16) return Launch<kKind, 16>(stream, gpu, program);
  if (rows <= 32) return Launch<kKind, 32>(stream, gpu, program);
  if (rows <= 64) return Launch<kKind, 64>(stream, gpu, program);
  if constexpr (kKind == Kind::kBF16) {
    if (rows > 128) return Launch<kKind, 256>(stream, gpu, program);
  }
  return Launch<kKind, 128>(stream, gpu, program);
}

Status LaunchKind(Stream stream, const Gpu& gpu, Kind kind, const LinearProgram& program) {
  switch (kind) {
    case Kind::kBF16: return LaunchRows<Kind::kBF16>(stream, gpu, program);
    case Kind::kF8: return LaunchRows<Kind::kF8>(stream, gpu, program);
    case Kind::kInt8: return LaunchRows<Kind::kInt8>(stream, gpu, program);
    case Kind::kInt8Fine: return LaunchRows<Kind::kInt8Fine>(stream, gpu, program);
    case Kind::kInt4: return LaunchRows<Kind::kInt4>(stream, gpu, program);
    case Kind::kInt4Offset: return LaunchRows<Kind::kInt4Offset>(stream, gpu, program);
  }
  return OkStatus();
}

int64_t PartFloats(int64_t slots, int64_t tile_rows) { return slots * kBand * tile_rows; }

}  // namespace

int64_t LinearScratchBytes(const Gpu& gpu, int64_t padded_rows, int64_t out) {
  // LinearPlan::NumSlots: fewer split bands than pairs.
  const int64_t pairs = gpu.multiprocessors / 2;
  const int64_t slots = 2 * pairs + std::min(NumBands(out), pairs);
  return kCounterBytes + 2 * PartFloats(slots, TileRows(padded_rows)) * int64_t{sizeof(float)};
}

Status Linears(Stream stream, const Gpu& gpu, int64_t rows, std::span<const LinearStep> steps,
               void* scratch) {
  if (rows == 0 || steps.empty()) return OkStatus();
  if (!gpu.wgmma()) return LinearsPlain(stream, gpu, rows, steps);
  // One launch for each run of steps with the same kind of weights.
  for (size_t begin = 0, end; begin < steps.size(); begin = end) {
    const Kind kind = KindOf(steps[begin].weight);
    LinearProgram program = {};
    program.rows = static_cast<int32_t>(rows);
    program.padded_rows = static_cast<int32_t>(PaddedRows(rows));
    for (end = begin;
         end < steps.size() && program.count < kMaxLinearSteps && KindOf(steps[end].weight) == kind;
         ++end) {
      const LinearStep& step = steps[end];
      const int64_t last = step.feature_end < 0 ? step.weight.out : step.feature_end;
      LinearPlan& plan = program.plans[program.count];
      plan = LinearPlan(
          gpu.multiprocessors / 2, static_cast<int32_t>(NumBands(last - step.feature_begin)),
          static_cast<int32_t>(NumStages(LayoutOf(step.weight.format), step.weight.in)));
      program.max_slots = std::max(program.max_slots, plan.NumSlots());
      program.steps[program.count++] = step;
    }
    program.counters = static_cast<uint32_t*>(scratch);
    program.parts = reinterpret_cast<float4*>(static_cast<unsigned char*>(scratch) + kCounterBytes);
    TESSERA_RETURN_IF_ERROR(LaunchKind(stream, gpu, kind, program));
  }
  return OkStatus();
}

}  // namespace tessera::cuda
