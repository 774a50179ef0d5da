// Timings of attention: launches in a graph over K/V that together exceed the L2 cache.
#pragma once

#include "tests/cuda/attention_scene.h"

namespace tessera::cuda {

__global__ void FillRandom(BF16* to, int64_t count) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    const uint32_t hash = (static_cast<uint32_t>(i) * 2654435761u) ^ static_cast<uint32_t>(i >> 7);
    // A sign, a magnitude in [1/2, 1), and random bits.
    to[i] = static_cast<BF16>((hash >> 16 & 0x807f) | 0x3f00);
  }
}

struct Shape {
  const char* name;
  Heads heads;
  int32_t sequences, rows, keys;
  double target = 0;  // microseconds, 0: none
  MaskRule rule = MaskRule::kFull;
};

// Rates of an H200, measured: reads of memory, and large products of bf16.
inline constexpr double kBytesPerSecond = 4.5e12, kFlopsPerSecond = 780e12;

inline void Time(const Gpu& gpu, const Shape& shape) {
  constexpr int kLaunches = 20;
  const Heads& heads = shape.heads;
  const int32_t seq_pages = (shape.keys + 63) / 64;
  const int64_t pages = int64_t{shape.sequences} * seq_pages;
  const int64_t layer = pages * 64 * heads.kv_heads * heads.dim;  // elements of K or of V
  const int64_t copies = std::clamp<int64_t>((int64_t{1} << 28) / (layer * 4), 1, kLaunches);
  const GpuBytes k(layer * copies * 2), v(layer * copies * 2);
  FillRandom<<<1024, 256>>>(k.as<BF16>(), layer * copies);
  FillRandom<<<1024, 256>>>(v.as<BF16>(), layer * copies);

  const SlotRange range = {0, shape.keys};
  std::vector<std::vector<int32_t>> tables(static_cast<size_t>(shape.sequences));
  std::vector<int32_t> slots;
  std::vector<AttentionGroup> groups;
  for (int32_t s = 0; s < shape.sequences; ++s) {
    auto& table = tables[static_cast<size_t>(s)];
    for (int32_t i = 0; i < seq_pages; ++i) table.push_back(i * shape.sequences + s);
    const auto begin = static_cast<int32_t>(slots.size());
    for (int32_t row = 0; row < shape.rows; ++row) slots.push_back(shape.keys - shape.rows + row);
    groups.push_back({.row_begin = begin,
                      .row_end = begin + shape.rows,
                      .pages = table,
                      .mask = {.rule = shape.rule, .slots = {&range, 1}}});
  }
  const auto rows = static_cast<int64_t>(slots.size());
  StepTable table;
  table.Set({.slots = slots, .groups = groups});
  std::vector<std::byte> block(table.bytes());
  table.Write(block.data());
  const GpuBytes step_gpu(block);
  const GpuBytes qkv(std::vector<float>(static_cast<size_t>(rows * heads.stride()), 0.125f));
  const GpuBytes packed(ActivationElements(PaddedRows(rows), heads.width()) * 2);
  const KvFormat format = {
      .type = KvType::kBF16, .kv_heads = heads.kv_heads, .head_dim = heads.dim};
  const DeviceStep step = table.At(step_gpu.as<void>());
  const int64_t scratch_bytes = AttentionScratchBytes(gpu, step, heads.heads, format);
  const GpuBytes scratch(std::max<int64_t>(scratch_bytes, 16));
  Must(cudaMemset(scratch.as<void>(), 0, static_cast<size_t>(scratch_bytes)));
  Must(cudaDeviceSynchronize());

  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t program = nullptr;
  cudaEvent_t begin, end;
  Must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  Must(cudaEventCreate(&begin));
  Must(cudaEventCreate(&end));
  Must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kLaunches; ++i) {
    const int64_t at = i % copies * layer;
    Must(Attention(stream, gpu,
                   {.step = step,
                    .qkv = qkv.as<float>(),
                    .heads = heads.heads,
                    .scale = 1 / std::sqrt(static_cast<float>(heads.dim)),
                    .kv = {.format = format, .k = k.as<BF16>() + at, .v = v.as<BF16>() + at},
                    .scratch = scratch.as<void>(),
                    .packed = packed.as<BF16>()}));
  }
  Must(cudaStreamEndCapture(stream, &graph));
  Must(cudaGraphInstantiate(&program, graph, 0));
  float best = 1e30f;
  for (int i = 0; i < 7; ++i) {  // two to warm up
    float milliseconds = 0;
    Must(cudaEventRecord(begin, stream));
    Must(cudaGraphLaunch(program, stream));
    Must(cudaEventRecord(end, stream));
    Must(cudaEventSynchronize(end));
    Must(cudaEventElapsedTime(&milliseconds, begin, end));
    if (i >= 2) best = std::min(best, milliseconds);
  }
  const double seconds = static_cast<double>(best) / 1e3 / kLaunches;
  // Pairs of a row and a key that it sees.
  const double hidden = shape.rule == MaskRule::kCausal ? (shape.rows - 1) / 2.0 : 0;
  const double flops =
      4.0 * static_cast<double>(rows) * (shape.keys - hidden) * static_cast<double>(heads.width());
  const double bytes = static_cast<double>(layer) * 4;
  const double floor = std::max(bytes / kBytesPerSecond, flops / kFlopsPerSecond);
  std::printf("%-12s %3d x %5d rows x %5d keys%s: %8.1f us, floor %6.1f, %5.2f TB/s, %5.0f TFLOP/s",
              shape.name, shape.sequences, shape.rows, shape.keys,
              shape.rule == MaskRule::kCausal ? ", causal" : "", seconds * 1e6, floor * 1e6,
              bytes / seconds / 1e12, flops / seconds / 1e12);
  if (shape.target > 0) {
    std::printf("  (%s %.0f us)", seconds * 1e6 <= shape.target ? "meets" : "MISSES", shape.target);
  }
  std::printf("\n");
  Must(cudaGraphExecDestroy(program));
  Must(cudaGraphDestroy(graph));
  Must(cudaEventDestroy(begin));
  Must(cudaEventDestroy(end));
  Must(cudaStreamDestroy(stream));
}

// Case `only`, or all when it is negative.
inline void TimeAll(const Gpu& gpu, int only) {
  constexpr Heads kLlada = {32, 32, 128}, kQwen3 = {32, 8, 128}, kQwen2 = {28, 4, 128};
  const Shape shapes[] = {
      {"LLaDA 32/32", kLlada, 1, 1, 1312, 10},
      {"LLaDA 32/32", kLlada, 1, 32, 1312, 10},
      {"LLaDA 32/32", kLlada, 1, 64, 1312, 14},
      {"LLaDA 32/32", kLlada, 1, 256, 1536},
      {"LLaDA 32/32", kLlada, 8, 32, 1312, 50},
      {"LLaDA 32/32", kLlada, 32, 32, 1312, 185},
      {"LLaDA 32/32", kLlada, 1, 1280, 1280, 90},
      {"LLaDA 32/32", kLlada, 1, 32, 16384},
      {"LLaDA 32/32", kLlada, 1, 8192, 8192, 0, MaskRule::kCausal},
      {"Qwen3 32/8", kQwen3, 1, 1, 1312, 10},
      {"Qwen3 32/8", kQwen3, 1, 32, 1312, 10},
      {"Qwen3 32/8", kQwen3, 32, 1, 1312},
      {"Qwen3 32/8", kQwen3, 32, 32, 1312},
      {"Qwen3 32/8", kQwen3, 1, 1280, 1280},
      {"Qwen2 28/4", kQwen2, 1, 1, 1312, 10},
      {"Qwen2 28/4", kQwen2, 1, 32, 1312, 10},
      {"Qwen2 28/4", kQwen2, 1, 8192, 8192, 0, MaskRule::kCausal},
  };
  for (int i = 0; const Shape& shape : shapes) {
    if (only < 0 || only == i++) Time(gpu, shape);
  }
}

}  // namespace tessera::cuda
