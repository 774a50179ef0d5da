#include <algorithm>

#include "tessera/backend/cuda/attention_stream.cuh"
#include "tessera/backend/cuda/attention_stream.h"

namespace tessera::cuda {
namespace {

// A matrix of bf16 of `width` columns and any number of rows, from which boxes of 64 columns and
// `box_rows` rows are copied, swizzled as the tensor cores read them.
Result<CUtensorMap> MapOf(const void* data, int32_t width, int32_t box_rows) {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                               12000, cudaEnableDefault, &found);
    return error == cudaSuccess ? reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function)
                                : nullptr;
  }();
  if (encode == nullptr) return FromCuda(cudaErrorInsufficientDriver, "cuTensorMapEncodeTiled");
  const cuuint64_t size[] = {static_cast<cuuint64_t>(width), cuuint64_t{1} << 31};
  const cuuint64_t stride = static_cast<cuuint64_t>(width) * sizeof(BF16);
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows)}, step[] = {1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(data), size, &stride, box,
             step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) return FromCuda(cudaErrorInvalidValue, "the map of keys and values");
  return map;
}

template <int kDim, int kGroups, bool kSpread>
cudaLaunchConfig_t Shape(cudaLaunchAttribute (&attributes)[2], int32_t cluster) {
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = static_cast<unsigned>(cluster);
  config.blockDim = PageShared<kDim, kGroups, kSpread>::kThreads;
  config.dynamicSmemBytes = sizeof(PageShared<kDim, kGroups, kSpread>);
  config.attrs = attributes;
  config.numAttrs = 2;
  return config;
}

template <int kDim, int kGroups, bool kSpread>
Status Prepare() {
  const auto kernel = AttentionStreamKernel<kDim, kGroups, kSpread>;
  constexpr auto kShared = sizeof(PageShared<kDim, kGroups, kSpread>);
  static_assert(kShared <= (kGroups == 1 ? 113 : 227) * 1024);
  TESSERA_CUDA_RETURN(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
  TESSERA_CUDA_RETURN(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                           cudaSharedmemCarveoutMaxShared));
  return OkStatus();
}

// How many clusters of `cluster` blocks run at a time.
template <int kDim>
Result<int32_t> RunningClusters(int32_t cluster) {
  cudaLaunchAttribute attributes[2];
  const cudaLaunchConfig_t config = Shape<kDim, 1, true>(attributes, cluster);
  int clusters = 0;
  TESSERA_CUDA_RETURN(
      cudaOccupancyMaxActiveClusters(&clusters, AttentionStreamKernel<kDim, 1, true>, &config));
  return clusters;
}

template <int kDim, int kGroups, bool kSpread>
Status Launch(Stream stream, const Gpu& gpu, const AttentionLaunch& args, const PagePlan& plan) {
  TESSERA_ASSIGN_OR_RETURN(const CUtensorMap keys, MapOf(args.kv.k, kDim, ops::kPageRows));
  TESSERA_ASSIGN_OR_RETURN(const CUtensorMap values, MapOf(args.kv.v, ops::kPageRows, kDim));
  TESSERA_RETURN_IF_ERROR((Prepare<kDim, kGroups, kSpread>()));
  const int32_t windows = (args.step.max_tiles + plan.tiles - 1) / plan.tiles;
  const int64_t works = int64_t{windows} * args.kv.format.kv_heads * plan.chunks;
  const int64_t places = gpu.multiprocessors * (kGroups == 1 ? 2 : 1) / plan.cluster;
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config = Shape<kDim, kGroups, kSpread>(attributes, plan.cluster);
  config.gridDim = static_cast<unsigned>(std::min(works, places) * plan.cluster);
  config.stream = stream;
  TESSERA_CUDA_RETURN(cudaLaunchKernelEx(&config, AttentionStreamKernel<kDim, kGroups, kSpread>,
                                         args, plan, keys, values));
  return OkStatus();
}

template <int kDim>
Status LaunchDim(Stream stream, const Gpu& gpu, const AttentionLaunch& args) {
  const DeviceStep& step = args.step;
  const int32_t kv_heads = args.kv.format.kv_heads;
  const int32_t heads_per_kv = args.heads / kv_heads;
  const int32_t folded = std::min(step.max_group_rows, kAttentionRows) * heads_per_kv;  // of a tile
  const auto plan_for = [&](int32_t rows) {
    PagePlan plan;
    plan.tiles = std::max(1, rows / (kAttentionRows * heads_per_kv));
    plan.chunks = (folded * plan.tiles + rows - 1) / rows;
    return plan;
  };
  PagePlan spread = plan_for(kFewRows);
  // The largest clusters of which there is a place for every work at once.
  const int64_t works = int64_t{step.max_tiles} * kv_heads * spread.chunks;
  TESSERA_RETURN_IF_ERROR((Prepare<kDim, 1, true>()));
  for (spread.cluster = kMaxCluster; spread.cluster > 1; --spread.cluster) {
    if (works * spread.cluster > gpu.multiprocessors * 2) continue;
    TESSERA_ASSIGN_OR_RETURN(const int32_t running, RunningClusters<kDim>(spread.cluster));
    if (works <= running) return Launch<kDim, 1, true>(stream, gpu, args, spread);
  }
  spread.cluster = 1;
  if (folded <= kFewRows && step.max_group_rows <= kAttentionRows) {
    return Launch<kDim, 1, false>(stream, gpu, args, spread);
  }
  return Launch<kDim, 2, false>(stream, gpu, args, plan_for(128));
}

}  // namespace

bool StreamsAttention(const Gpu& gpu, const ops::KvFormat& format) {
  return gpu.wgmma() && format.type == ops::KvType::kBF16 &&
         (format.head_dim == 64 || format.head_dim == 128);
}

Status AttentionStream(Stream stream, const Gpu& gpu, const AttentionLaunch& args) {
  return args.kv.format.head_dim == 64 ? LaunchDim<64>(stream, gpu, args)
                                       : LaunchDim<128>(stream, gpu, args);
}

}  // namespace tessera::cuda
