// What checks and timings of the linear layers share: the GPU, operands on both sides, and a layer.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tessera/backend/cuda/devices.h"
#include "tessera/backend/cuda/packed_matrix.h"
#include "tests/cuda/host_weight.h"

namespace tessera::cuda {

using Output = LinearStep::Output;

inline constexpr float kEps = 1e-5f;

inline int failures = 0;

inline bool Expect(bool passed, const std::string& what) {
  if (!passed) {
    ++failures;
    std::printf("FAIL %s\n", what.c_str());
  }
  return passed;
}

inline void Must(const Status& status) {
  if (status.ok()) return;
  std::printf("FAIL %s\n", std::string(status.message()).c_str());
  std::exit(1);
}
template <typename T>
T Must(Result<T> result) {
  Must(result.status());
  return *std::move(result);
}
inline void Must(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("FAIL %s\n", cudaGetErrorString(error));
  std::exit(1);
}

struct Rig {
  Gpu gpu;
  StreamHandle stream;
  ThreadPool pool;
  MatrixPacker packer;
  DeviceMemory scratch;  // for all that is run, so that every launch must leave it ready

  Rig() : gpu(Must(OpenGpu(0))), stream(Must(StreamHandle::Create())) {
    const auto bytes = static_cast<size_t>(LinearScratchBytes(gpu, PaddedRows(1280), 1 << 18));
    scratch = Must(DeviceMemory::Create(bytes, "scratch"));
    Must(Zero(stream.get(), scratch.data(), bytes));
  }
  void Run(int64_t rows, std::span<const LinearStep> steps) {
    Must(Linears(stream.get(), gpu, rows, steps, scratch.data()));
  }
};

template <typename T>
DeviceMemory Upload(Rig& rig, const std::vector<T>& values) {
  const size_t bytes = values.size() * sizeof(T);
  DeviceMemory memory = Must(DeviceMemory::Create(bytes, "test"));
  Must(CopyToGpu(rig.stream.get(), memory.data(), values.data(), bytes));
  Must(Synchronize(rig.stream.get()));
  return memory;
}
template <typename T>
std::vector<T> Download(Rig& rig, const void* from, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  Must(CopyToHost(rig.stream.get(), values.data(), from, values.size() * sizeof(T)));
  Must(Synchronize(rig.stream.get()));
  return values;
}
// Filled with NaN.
inline DeviceMemory Allocate(Rig& rig, int64_t bytes) {
  DeviceMemory memory = Must(DeviceMemory::Create(static_cast<size_t>(bytes), "test"));
  Must(cudaMemsetAsync(memory.data(), 0xff, static_cast<size_t>(bytes), rig.stream.get()));
  return memory;
}

inline std::vector<float> RandomFloats(int64_t count, float scale, float center, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = center + scale * RandomAt(seed, i);
  return values;
}

// Rows [rows, width] whose elements are exact in bf16.
inline std::vector<float> RandomRows(int64_t rows, int64_t width, uint64_t seed) {
  std::vector<float> x = RandomFloats(rows * width, 1, 0.125f, seed);
  for (float& value : x) value = FloatFromBF16(BF16FromFloat(value));
  return x;
}
// Surplus rows are NaN: no row may depend on them.
inline std::vector<BF16> PackedRows(const std::vector<float>& x, int64_t rows, int64_t width) {
  const int64_t padded = PaddedRows(rows);
  std::vector<BF16> packed(static_cast<size_t>(ActivationElements(padded, width)), 0x7fff);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < PaddedInputs(width); ++k) {
      packed[static_cast<size_t>(ActivationIndex(row, k, padded, width))] =
          k < width ? BF16FromFloat(x[static_cast<size_t>(row * width + k)]) : BF16{0};
    }
  }
  return packed;
}
// And back; false if the padding of the width is not zero.
inline bool UnpackRows(const std::vector<BF16>& packed, int64_t rows, int64_t width,
                       std::vector<float>* x) {
  bool zero = true;
  x->resize(static_cast<size_t>(rows * width));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < PaddedInputs(width); ++k) {
      const BF16 bits =
          packed[static_cast<size_t>(ActivationIndex(row, k, PaddedRows(rows), width))];
      if (k < width) (*x)[static_cast<size_t>(row * width + k)] = FloatFromBF16(bits);
      if (k >= width) zero = zero && (bits & 0x7fff) == 0;
    }
  }
  return zero;
}

struct DeviceWeight {
  DeviceMemory data, scales;
  WeightView view;

  DeviceWeight(Rig& rig, const HostWeight& weight)
      : data(Upload(rig, weight.packed())),
        scales(Upload(rig, weight.feature_scales())),
        view(weight.View()) {
    view.data = data.data();
    if (!weight.feature_scales().empty()) view.feature_scales = scales.as<float>();
  }
};

// What a residual step begins with and leaves, on the host.
struct Residual {
  std::vector<float> before = {}, after = {}, norm = {}, square_sums = {};
  std::vector<BF16> packed = {};
};

// o -> gate and up -> down -> qkv of one layer and the next.
struct Layer {
  int64_t width, ffn, qkv, rows;
  std::vector<float> norm;
  DeviceMemory device_norm, attention, hidden, sums, next_sums, x, silu, next_x, y;
  std::vector<float> hidden_before, attention_before;

  Layer(Rig& rig, int64_t width_, int64_t ffn_, int64_t qkv_, int64_t rows_)
      : width(width_), ffn(ffn_), qkv(qkv_), rows(rows_) {
    const int64_t padded = PaddedRows(rows);
    norm = RandomFloats(width, 0.5f, 1, 31);
    hidden_before = RandomFloats(rows * width, 1, 0, 32);
    attention_before = RandomRows(rows, width, 33);
    device_norm = Upload(rig, norm);
    attention = Upload(rig, PackedRows(attention_before, rows, width));
    sums = Allocate(rig, (width + 63) / 64 * padded * 4);
    next_sums = Allocate(rig, (width + 63) / 64 * padded * 4);
    x = Allocate(rig, ActivationElements(padded, width) * 2);
    next_x = Allocate(rig, ActivationElements(padded, width) * 2);
    silu = Allocate(rig, ActivationElements(padded, ffn) * 2);
    y = Allocate(rig, rows * qkv * 4);
    hidden = Upload(rig, hidden_before);
  }

  LinearStep ResidualStep(const WeightView& weight, const DeviceMemory& from,
                          const DeviceMemory& to, const DeviceMemory& to_sums) const {
    return {.weight = weight,
            .x = from.as<BF16>(),
            .output = Output::kResidual,
            .hidden = hidden.as<float>(),
            .norm_weight = device_norm.as<float>(),
            .out_square_sums = to_sums.as<float>(),
            .packed = to.as<BF16>()};
  }
  std::vector<LinearStep> Steps(const WeightView& o, const WeightView& gate_up,
                                const WeightView& down, const WeightView& qkv_weight) const {
    return {ResidualStep(o, attention, x, sums),
            {.weight = gate_up,
             .x = x.as<BF16>(),
             .square_sums = sums.as<float>(),
             .eps = kEps,
             .output = Output::kSilu,
             .packed = silu.as<BF16>()},
            ResidualStep(down, silu, next_x, next_sums),
            {.weight = qkv_weight,
             .x = next_x.as<BF16>(),
             .square_sums = next_sums.as<float>(),
             .eps = kEps,
             .output = Output::kRows,
             .y = y.as<float>(),
             .stride = qkv}};
  }
  Residual ReadResidual(Rig& rig, const DeviceMemory& packed, const DeviceMemory& packed_sums) {
    const int64_t padded = PaddedRows(rows);
    return {.after = Download<float>(rig, hidden.data(), rows * width),
            .norm = norm,
            .square_sums = Download<float>(rig, packed_sums.data(), (width + 63) / 64 * padded),
            .packed = Download<BF16>(rig, packed.data(), ActivationElements(padded, width))};
  }
};

}  // namespace tessera::cuda
