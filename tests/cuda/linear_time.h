// Timings of the products: LLaDA-8B's layers, 20 launches in a graph over copies of the weights
// that together exceed the L2 cache.
#pragma once

#include <cstdio>

#include "tests/cuda/linear_harness.h"

namespace tessera::cuda {

inline constexpr int kLaunches = 20;

// Seconds of one of the launches that `enqueue(i)` makes for i in [0, kLaunches): the best of five.
template <typename Enqueue>
double SecondsPerLaunch(Rig& rig, Enqueue&& enqueue) {
  cudaStream_t stream = rig.stream.get();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t program = nullptr;
  Must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kLaunches; ++i) enqueue(i);
  Must(cudaStreamEndCapture(stream, &graph));
  Must(cudaGraphInstantiate(&program, graph, 0));
  const EventHandle begin = Must(EventHandle::Create(/*timed=*/true));
  const EventHandle end = Must(EventHandle::Create(/*timed=*/true));
  float best = 1e30f;
  for (int i = 0; i < 7; ++i) {  // two to warm up
    Must(begin.Record(stream));
    Must(cudaGraphLaunch(program, stream));
    Must(end.Record(stream));
    Must(end.Wait());
    if (i >= 2) best = std::min(best, Must(end.MillisecondsSince(begin)));
  }
  Must(cudaGraphExecDestroy(program));
  Must(cudaGraphDestroy(graph));
  return static_cast<double>(best) / 1e3 / kLaunches;
}

__global__ void ReadAll(const uint4* from, int64_t count, uint32_t* to) {
  uint32_t sum = 0;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
#pragma unroll 8
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    const uint4 word = __ldcs(from + i);
    sum += word.x ^ word.y ^ word.z ^ word.w;
  }
  if (sum == 1) *to = sum;  // keeps the loads
}

// Bytes per second.
inline double ReadBandwidth(Rig& rig) {
  constexpr int64_t kBytes = int64_t{1} << 30;
  const DeviceMemory memory = Allocate(rig, kBytes), sum = Allocate(rig, 4);
  const double seconds = SecondsPerLaunch(rig, [&](int) {
    ReadAll<<<static_cast<unsigned>(rig.gpu.multiprocessors * 4), 512, 0, rig.stream.get()>>>(
        memory.as<uint4>(), kBytes / 16, sum.as<uint32_t>());
    Must(cudaGetLastError());
  });
  return static_cast<double>(kBytes) / seconds;
}

// A weight and copies of it.
struct TimedWeight {
  std::vector<std::unique_ptr<PackedMatrix>> copies;

  TimedWeight(Rig& rig, const ops::WeightFormat& format, int64_t out, int64_t in, bool paired,
              const std::vector<float>& values) {
    constexpr int64_t kBeyondCache = 256 << 20;
    const auto part = [&](int64_t rows) {
      return TensorView{.data = reinterpret_cast<const std::byte*>(values.data()),
                        .dtype = DType::kF32,
                        .shape = {rows, in}};
    };
    ops::MatrixSource source = {.parts = {part(out)}, .format = format, .paired = paired};
    if (paired) source.parts = {part(out / 2), part(out / 2)};
    do {
      copies.push_back(Must(rig.packer.Pack(rig.stream.get(), source)));
    } while (static_cast<int64_t>(copies.size()) < kLaunches &&
             static_cast<int64_t>(copies.size()) * copies[0]->bytes() < kBeyondCache);
  }
  const WeightView& View(int launch) const {
    return copies[static_cast<size_t>(launch) % copies.size()]->view();
  }
  double bytes() const { return static_cast<double>(copies[0]->bytes()); }
  double multiplications() const {
    return static_cast<double>(copies[0]->out()) * static_cast<double>(copies[0]->in());
  }
};

inline void TimeFormat(Rig& rig, const ops::WeightFormat& format, double bandwidth) {
  constexpr int64_t kWidth = 4096, kFfn = 12288, kQkv = 12288;
  const std::vector<float> values = RandomFloats(kFfn * kWidth, 0.03f, 0, 51);
  const TimedWeight weights[4] = {{rig, format, kWidth, kWidth, false, values},
                                  {rig, format, 2 * kFfn, kWidth, true, values},
                                  {rig, format, kWidth, kFfn, false, values},
                                  {rig, format, kQkv, kWidth, false, values}};
  const char* names[] = {"o", "gate_up", "down", "qkv", "chain"};
  std::printf("%-12s %5s %-8s %9s %8s %6s %8s\n", "format", "rows", "product", "us", "GB/s",
              "share", "TFLOP/s");
  for (const int64_t rows : {1, 8, 32, 64, 128, 256, 1280}) {
    const Layer layer(rig, kWidth, kFfn, kQkv, rows);
    const auto steps = [&](int i) {
      return layer.Steps(weights[0].View(i), weights[1].View(i), weights[2].View(i),
                         weights[3].View(i));
    };
    rig.Run(rows, steps(0));  // writes what each product reads
    for (size_t product = 0; product < 5; ++product) {
      double bytes = 0, multiplications = 0;
      for (size_t i = 0; i < 4; ++i) {
        if (product != 4 && product != i) continue;
        bytes += weights[i].bytes();
        multiplications += weights[i].multiplications();
      }
      const double seconds = SecondsPerLaunch(rig, [&](int i) {
        const auto all = steps(i);
        rig.Run(rows, product == 4 ? std::span(all) : std::span(&all[product], 1));
      });
      std::printf("%-12s %5lld %-8s %9.2f %8.0f %5.1f%% %8.1f\n", Name(format).c_str(),
                  static_cast<long long>(rows), names[product], seconds * 1e6,
                  bytes / seconds / 1e9, 100 * bytes / seconds / bandwidth,
                  2 * static_cast<double>(rows) * multiplications / seconds / 1e12);
    }
    std::fflush(stdout);
  }
}

}  // namespace tessera::cuda
