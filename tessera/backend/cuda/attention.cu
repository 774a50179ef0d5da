// Attention over paged K/V: which kernel, and on which grid.
#include <algorithm>
#include <climits>
#include <vector>

#include "tessera/backend/cuda/attention_plain.cuh"
#include "tessera/backend/cuda/attention_stream.h"
#include "tessera/backend/cuda/attention_tile.cuh"
#include "tessera/backend/cuda/kernels.h"
#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {
namespace {

// Counters at the beginning of the scratch memory, in a place that all steps share: only they must
// be zero between launches.
constexpr int64_t kCounters = 1024;
constexpr int64_t kMaxPartialBytes = int64_t{256} << 20;

bool UsesTiles(const Gpu& gpu, const ops::KvFormat& format) {
  return gpu.capability >= 80 && format.type == ops::KvType::kBF16 &&
         (format.head_dim == 64 || format.head_dim == 128);
}

int64_t PartialBytes(const TilePlan& plan, const DeviceStep& step, const ops::KvFormat& format) {
  if (plan.splits == 1) return 0;
  const int64_t floats = format.head_dim == 64 ? PartialFloats<64>(plan) : PartialFloats<128>(plan);
  return int64_t{step.max_tiles} * format.kv_heads * plan.chunks * floats *
         static_cast<int64_t>(sizeof(float));
}

constexpr int32_t kFewRows = 32, kManyRows = 128;  // folded rows of a block

// The launches of a step: blocks of few rows, and, for groups of several tiles or heads that share
// K/V, blocks of many, which read K/V less often.
std::vector<TilePlan> MakePlans(const Gpu& gpu, const DeviceStep& step, int32_t heads,
                                const ops::KvFormat& format) {
  const int32_t folded = kAttentionRows * (heads / format.kv_heads);  // rows of a tile
  const TilePlan few = {.max_rows = kAttentionRows, .block_rows = kFewRows};
  TilePlan many = {.tiles = std::max(1, kManyRows / folded),
                   .min_rows = 0,
                   .max_rows = INT_MAX,
                   .block_rows = kManyRows};
  std::vector<TilePlan> plans;
  if (folded <= kFewRows) {
    plans.push_back(few);
    many.min_rows = kAttentionRows + 1;
  }
  if (folded > kFewRows || step.max_tiles > 1) plans.push_back(many);
  for (TilePlan& plan : plans) {
    const int32_t rows = folded * plan.tiles;
    plan.chunks = (rows + plan.block_rows - 1) / plan.block_rows;
    // Spread over the keys where the rows alone would leave the GPU idle.
    const int64_t blocks = int64_t{step.max_tiles} * format.kv_heads * plan.chunks;
    if (blocks > kCounters || blocks * 2 > int64_t{gpu.multiprocessors} * 3 * plan.tiles) continue;
    plan.splits = step.max_keys / kAttentionSplit + 2;  // 2: pieces of ranges, fresh rows
    if (PartialBytes(plan, step, format) > kMaxPartialBytes) plan.splits = 1;
  }
  return plans;
}

template <int kDim, int kWarps, int kParts>
Status LaunchTiles(Stream stream, const AttentionLaunch& args, const TilePlan& plan) {
  const auto kernel = TileAttentionKernel<kDim, kWarps, kParts>;
  constexpr int kShared = sizeof(TileShared<kDim, kWarps / kParts * kWarpRows>);
  TESSERA_CUDA_RETURN(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
  const dim3 grid(static_cast<unsigned>(plan.splits),
                  static_cast<unsigned>(args.kv.format.kv_heads * plan.chunks),
                  static_cast<unsigned>(args.step.max_tiles));
  auto* counters = static_cast<int32_t*>(args.scratch);
  kernel<<<grid, kWarps * 32, kShared, stream>>>(args, plan, counters,
                                                 reinterpret_cast<float*>(counters + kCounters));
  return LaunchStatus("attention");
}

template <int kDim>
Status LaunchPlan(Stream stream, const AttentionLaunch& args, const TilePlan& plan) {
  return plan.block_rows == kFewRows ? LaunchTiles<kDim, 4, 2>(stream, args, plan)
                                     : LaunchTiles<kDim, 8, 1>(stream, args, plan);
}

}  // namespace

int64_t AttentionScratchBytes(const Gpu& gpu, const DeviceStep& step, int32_t heads,
                              const ops::KvFormat& format) {
  if (StreamsAttention(gpu, format) || !UsesTiles(gpu, format)) return 0;
  int64_t partials = 0;
  for (const TilePlan& plan : MakePlans(gpu, step, heads, format)) {
    partials = std::max(partials, PartialBytes(plan, step, format));
  }
  return kCounters * static_cast<int64_t>(sizeof(int32_t)) + partials;
}

Status Attention(Stream stream, const Gpu& gpu, const AttentionLaunch& args) {
  const ops::KvFormat& format = args.kv.format;
  if (StreamsAttention(gpu, format)) return AttentionStream(stream, gpu, args);
  if (UsesTiles(gpu, format)) {
    for (const TilePlan& plan : MakePlans(gpu, args.step, args.heads, format)) {
      TESSERA_RETURN_IF_ERROR(format.head_dim == 64 ? LaunchPlan<64>(stream, args, plan)
                                                    : LaunchPlan<128>(stream, args, plan));
    }
    return OkStatus();
  }
  const dim3 grid(static_cast<unsigned>(args.step.padded_rows), static_cast<unsigned>(args.heads));
  if (format.type == ops::KvType::kBF16) {
    PlainAttentionKernel<__nv_bfloat16><<<grid, kPlainThreads, 0, stream>>>(args);
  } else {
    PlainAttentionKernel<float><<<grid, kPlainThreads, 0, stream>>>(args);
  }
  return LaunchStatus("attention");
}

}  // namespace tessera::cuda
