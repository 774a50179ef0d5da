// Timings of the head at LLaDA-8B's shape: its products in slices, their reduction, the host's
// part.
#pragma once

#include <chrono>
#include <limits>
#include <random>

#include "tessera/backend/cuda/head_reducer.h"
#include "tests/cuda/linear_time.h"

namespace tessera::cuda {

inline std::vector<float> Normals(size_t count, float scale, std::mt19937& random) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

inline HeadRequest Greedy(int32_t row) {
  HeadRequest request = {};
  request.row = row;
  request.guidance_row = request.top_list = request.kept = -1;
  request.top_p = 1;
  request.min_p_floor = -std::numeric_limits<double>::infinity();
  return request;
}

inline constexpr int64_t kVocab = 126464, kWidth = 4096;

// What reducing `rows` rows takes, beside their requests.
struct Reduction {
  DeviceMemory partials, sums, kept, filtered, requests;
  HeadBatch batch;

  Reduction(Rig& rig, const std::vector<HeadRequest>& table) {
    const auto count = static_cast<int64_t>(table.size());
    const int64_t chunks = RoundUp(kVocab, kHeadChunk) / kHeadChunk;
    const bool keeps = table[0].kept >= 0;
    partials = Allocate(rig, count * chunks * kChunkParts * static_cast<int64_t>(sizeof(HeadSums)));
    sums = Allocate(rig, count * static_cast<int64_t>(sizeof(HeadSums)));
    kept = Allocate(rig, keeps ? count * chunks * kHeadChunk * 4 : 0);
    filtered = Allocate(rig, count * static_cast<int64_t>(sizeof(FilteredSums)));
    requests = Upload(rig, table);
    batch = {.requests = requests.as<HeadRequest>(),
             .count = static_cast<int32_t>(count),
             .kept_rows = keeps ? static_cast<int32_t>(count) : 0,
             .chunks = static_cast<int32_t>(chunks),
             .partials = partials.as<HeadSums>(),
             .kept = kept.as<float>(),
             .sums = sums.as<HeadSums>(),
             .filtered = filtered.as<FilteredSums>()};
  }
};

// The statistics of logits in L2 or memory, as products leave them.
inline void TimeReduction(Rig& rig, double rate, int32_t rows) {
  std::mt19937 random(3);
  const DeviceMemory logits =
      Upload(rig, Normals(static_cast<size_t>(rows) * static_cast<size_t>(kVocab), 3, random));
  const auto run = [&](const char* name, HeadRequest request) {
    std::vector<HeadRequest> table;
    for (int32_t r = 0; r < rows; ++r) {
      request.row = r;
      if (request.kept >= 0) request.kept = r;
      table.push_back(request);
    }
    const Reduction reduction(rig, table);
    const double seconds = SecondsPerLaunch(rig, [&](int) {
      for (int64_t first = 0; first < kVocab; first += kHeadSlice) {
        Must(ReduceSlice(rig.stream.get(), reduction.batch, logits.as<float>() + first, kVocab,
                         first, std::min(kHeadSlice, kVocab - first)));
      }
      Must(MergeChunks(rig.stream.get(), reduction.batch));
      Must(FilterRows(rig.stream.get(), reduction.batch));
    });
    std::printf("%4d rows, %-26s %8.1f us   floor %6.1f us\n", rows, name, seconds * 1e6,
                static_cast<double>(rows) * kVocab * 4 / rate * 1e6);
  };
  HeadRequest request = Greedy(0);
  run("argmax", request);
  request.temperature = 1;
  run("Gumbel-max", request);
  request.temperature = 0.2;
  run("Gumbel-max, cool", request);
  request.kept = 0;
  run("Gumbel-max of kept logits", request);
  request.top_k = 50;
  request.top_p = 0.9f;
  run("top-k, top-p", request);
}

// A head of bf16 weights, a few random ones over and over.
struct RepeatedHead {
  DeviceMemory data;
  WeightView view;

  explicit RepeatedHead(Rig& rig) {
    constexpr int64_t kPiece = 2048;
    const ops::WeightFormat format = Must(ops::ParseWeightFormat("bf16"));
    const std::vector<float> values = RandomFloats(kPiece * kWidth, 0.03f, 0, 71);
    const TensorView tensor = {.data = reinterpret_cast<const std::byte*>(values.data()),
                               .dtype = DType::kF32,
                               .shape = {kPiece, kWidth}};
    const auto piece =
        Must(rig.packer.Pack(rig.stream.get(), {.parts = {tensor}, .format = format}));
    const int64_t bytes = PackedBytes(LayoutOf(format), kVocab, kWidth);
    data = Allocate(rig, bytes);
    for (int64_t at = 0; at < bytes; at += piece->bytes()) {
      Must(CopyOnGpu(rig.stream.get(), data.as<std::byte>() + at, piece->view().data,
                     static_cast<size_t>(std::min(piece->bytes(), bytes - at))));
    }
    Must(Synchronize(rig.stream.get()));
    view = {.format = format, .out = kVocab, .in = kWidth, .data = data.data()};
  }
};

// Products and statistics, for slices of several sizes.
inline void TimeSlices(Rig& rig, double rate, const RepeatedHead& head, int32_t rows) {
  const DeviceMemory x = Upload(rig, PackedRows(RandomRows(rows, kWidth, 72), rows, kWidth));
  const DeviceMemory logits = Allocate(rig, PaddedRows(rows) * kVocab * 4);
  std::vector<HeadRequest> table;
  for (int32_t r = 0; r < rows; ++r) table.push_back(Greedy(r));
  const Reduction reduction(rig, table);
  const double floor = std::max(static_cast<double>(kVocab * kWidth) * 2 / rate,
                                2.0 * rows * static_cast<double>(kVocab * kWidth) / 780e12);
  for (const int64_t slice : {kHeadSlice / 2, kHeadSlice, 2 * kHeadSlice}) {
    double seconds[2];
    for (const bool reduce : {false, true}) {
      seconds[reduce] = SecondsPerLaunch(rig, [&](int) {
        for (int64_t first = 0; first < kVocab; first += slice) {
          const int64_t count = std::min(slice, kVocab - first);
          const LinearStep step = {.weight = head.view,
                                   .x = x.as<BF16>(),
                                   .feature_begin = first,
                                   .feature_end = first + count,
                                   .y = logits.as<float>(),
                                   .stride = slice};
          rig.Run(rows, {&step, 1});
          if (!reduce) continue;
          Must(ReduceSlice(rig.stream.get(), reduction.batch, logits.as<float>(), slice, first,
                           count));
        }
        if (reduce) Must(MergeChunks(rig.stream.get(), reduction.batch));
      });
    }
    std::printf(
        "%4d rows, slices of %6lld: products %8.1f us, and statistics %8.1f us   "
        "floor %6.1f us\n",
        rows, static_cast<long long>(slice), seconds[0] * 1e6, seconds[1] * 1e6, floor * 1e6);
  }
}

// What the host does before and after; the best of five.
inline void TimeHost(Rig& rig, const RepeatedHead& head, int32_t rows) {
  using Clock = std::chrono::steady_clock;
  const DeviceMemory x = Upload(rig, PackedRows(RandomRows(rows, kWidth, 72), rows, kWidth));
  std::vector<ops::SamplingSpec> specs(static_cast<size_t>((rows + 31) / 32));
  std::vector<ops::RowRequest> requests;
  for (int32_t r = 0; r < rows; ++r) {
    requests.push_back({.row = r, .sampling = &specs[static_cast<size_t>(r / 32)]});
  }
  HeadReducer reducer(rig.gpu);
  std::vector<ops::RowStats> stats(requests.size());
  double best[3] = {1, 1, 1};
  for (int i = 0; i < 6; ++i) {
    const auto begin = Clock::now();
    Must(reducer.Prepare(rig.stream.get(), head.view, rows, requests));
    const auto prepared = Clock::now();
    Must(reducer.Enqueue(rig.stream.get(), {.packed = x.as<BF16>()}));
    const auto enqueued = Clock::now();
    Must(Synchronize(rig.stream.get()));
    const auto done = Clock::now();
    Must(reducer.Collect(stats));
    const auto collected = Clock::now();
    if (i == 0) continue;  // allocates
    const auto keep = [](double& least, Clock::duration time) {
      least = std::min(least, std::chrono::duration<double>(time).count());
    };
    keep(best[0], prepared - begin);
    keep(best[1], enqueued - prepared);
    keep(best[2], collected - done);
  }
  std::printf("%4d requests on the host: prepare %6.1f us, enqueue %6.1f us, collect %6.1f us\n",
              rows, best[0] * 1e6, best[1] * 1e6, best[2] * 1e6);
}

}  // namespace tessera::cuda
