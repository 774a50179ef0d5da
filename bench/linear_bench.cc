// How near the linear kernels come to the machine: memory once, or arithmetic at the peak rate.
//
//   linear_bench [--isa LEVEL]... [--format FORMAT]... [--threads N]... [--rows N]...
//                [--shape OUTxIN]... [--reps N]
// FORMAT: f32, bf16, int8, int8-gN, int4-gN (N: 32, 64, 128)
//
// Each row count runs once per repetition, in turn, on the next of several copies of the weights
// (together larger than most last-level caches), so that noise and cache state hit all alike. The
// read bandwidth is measured in the same turns. One thread is timed by the processor time it got,
// so that other programs on the machine do not count; several threads by the clock on the wall. The
// printed times are medians, "best" columns the fastest turn. "cpu ms" is the median processor time
// of the process divided by the threads: what the wall would show if every thread had its core.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tessera/backend/cpu/linear.h"
#include "tessera/backend/cpu/rates.h"

namespace tessera::bench {

using cpu::Now;
using cpu::PeakBF16;
using cpu::PeakF32;
using cpu::ProcessNow;
using cpu::ReadBandwidth;
using cpu::ThreadNow;

namespace {

struct Options {
  std::vector<std::string> isas;
  std::vector<std::string> formats;
  std::vector<int> threads;
  std::vector<int64_t> rows;
  std::vector<std::pair<int64_t, int64_t>> shapes;  // (out, in)
  int reps = 15;
};

bool Parse(int argc, char** argv, Options* options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = argv[i + 1];
    if (flag == "--isa") {
      options->isas.push_back(value);
    } else if (flag == "--format") {
      options->formats.push_back(value);
    } else if (flag == "--threads") {
      options->threads.push_back(std::atoi(value));
    } else if (flag == "--rows") {
      options->rows.push_back(std::atoll(value));
    } else if (flag == "--shape") {
      long long out = 0, in = 0;
      if (std::sscanf(value, "%lldx%lld", &out, &in) != 2) return false;
      options->shapes.emplace_back(out, in);
    } else if (flag == "--reps") {
      options->reps = std::atoi(value);
    } else {
      return false;
    }
  }
  if (argc % 2 == 0) return false;
  if (options->isas.empty()) {
    for (const cpu::Isa isa : cpu::AvailableIsas()) options->isas.emplace_back(cpu::Name(isa));
  }
  if (options->formats.empty()) options->formats = {"bf16"};
  if (options->threads.empty()) options->threads = {1, AvailableCores()};
  if (options->rows.empty()) options->rows = {1, 2, 4, 8, 16, 32, 64, 128, 256};
  // LLaDA-8B: gate and up, attention projections, down.
  if (options->shapes.empty()) options->shapes = {{12288, 4096}, {4096, 4096}, {4096, 12288}};
  return true;
}

bool ParseFormat(const std::string& text, ops::WeightFormat* format) {
  const std::string type = text.substr(0, text.find("-g"));
  if (type.size() < text.size()) format->group = std::atoi(text.c_str() + type.size() + 2);
  if (type == "f32") format->type = ops::WeightType::kF32;
  if (type == "bf16") format->type = ops::WeightType::kBF16;
  if (type == "int8") format->type = ops::WeightType::kInt8;
  if (type == "int4") format->type = ops::WeightType::kInt4;
  return type == "f32" || type == "bf16" || type == "int8" || type == "int4";
}

double Peak(const ops::WeightFormat& format, cpu::Isa isa) {
  if (format.type == ops::WeightType::kF32) return PeakF32(isa);
  return PeakBF16(isa) * (format.type == ops::WeightType::kBF16 ? 1 : 2);  // int8: twice as many
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double Least(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}

// Copies of one weight matrix: at least 1.2 GB (this Xeon has 480 MB of L3), so none is still in a
// cache when its turn comes.
std::vector<std::unique_ptr<cpu::PackedMatrix>> MakeWeights(int64_t out, int64_t in,
                                                            ops::WeightFormat format,
                                                            ThreadPool& pool) {
  std::vector<uint16_t> values(static_cast<size_t>(out * in));
  uint32_t state = 1;
  for (uint16_t& value : values) {
    state = state * 1664525 + 1013904223;
    value = static_cast<uint16_t>(0x3c00 | (state >> 16 & 0x8000) | (state >> 24));
  }
  ops::MatrixSource source;
  source.parts.push_back(
      TensorView{reinterpret_cast<const std::byte*>(values.data()), DType::kBF16, {out, in}});
  source.format = format;
  std::vector<std::unique_ptr<cpu::PackedMatrix>> copies;
  int64_t bytes = 0;
  const double start = Now();
  while (bytes < 1'200'000'000) {
    auto matrix = cpu::PackMatrix(source, pool);
    if (!matrix.ok()) {
      std::fprintf(stderr, "%s\n", matrix.status().message().c_str());
      std::exit(1);
    }
    bytes += (*matrix)->bytes();
    copies.push_back(*std::move(matrix));
  }
  std::printf("packed %zu copies at %.1f GB/s (packed bytes)\n", copies.size(),
              static_cast<double>(bytes) / (Now() - start) * 1e-9);
  return copies;
}

void RunShape(int64_t out, int64_t in, cpu::Isa isa, ops::WeightFormat format, ThreadPool& pool,
              const Options& options) {
  const auto weights = MakeWeights(out, in, format, pool);
  const int64_t max_rows = *std::max_element(options.rows.begin(), options.rows.end());
  std::vector<float> x(static_cast<size_t>(max_rows * in)), y(static_cast<size_t>(max_rows * out));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17) * 0.1f - 0.8f;
  cpu::Scratch scratch;

  double (*const now)() = pool.size() == 1 ? ThreadNow : Now;
  std::vector<std::vector<double>> seconds(options.rows.size());
  std::vector<std::vector<double>> cpu_seconds(options.rows.size());
  std::vector<double> bandwidths;
  size_t turn = 0;
  for (int rep = 0; rep < options.reps; ++rep) {
    const cpu::PackedMatrix& read = *weights[turn++ % weights.size()];
    bandwidths.push_back(ReadBandwidth(read.data(), read.bytes(), pool));
    for (size_t i = 0; i < options.rows.size(); ++i) {
      const ops::LinearArgs args = {.rows = options.rows[i],
                                    .x = x.data(),
                                    .weight = weights[turn++ % weights.size()].get(),
                                    .bias = nullptr,
                                    .y = y.data()};
      const double start = now(), cpu_start = ProcessNow();
      cpu::Linear(args, isa, pool, scratch);
      seconds[i].push_back(now() - start);
      cpu_seconds[i].push_back((ProcessNow() - cpu_start) / pool.size());
    }
  }

  // Bandwidth is a property of the machine, so its best turn counts; times are what users see.
  const double bandwidth = *std::max_element(bandwidths.begin(), bandwidths.end());
  const double peak = pool.size() * Peak(format, isa);
  std::printf("%lld x %lld  read %.1f (median %.1f) GB/s  peak %.0f GFLOP/s\n",
              static_cast<long long>(out), static_cast<long long>(in), bandwidth * 1e-9,
              Median(bandwidths) * 1e-9, peak * 1e-9);
  std::printf("%6s %9s %8s %9s %8s %9s %8s | %9s %8s %8s | %8s\n", "rows", "ms", "GB/s", "GFLOP/s",
              "/1 row", "floor ms", "/floor", "best ms", "/1 row", "/floor", "cpu ms");
  for (size_t i = 0; i < options.rows.size(); ++i) {
    const double rows = static_cast<double>(options.rows[i]);
    const double time = Median(seconds[i]), best = Least(seconds[i]);
    const double bytes =
        static_cast<double>(weights[0]->bytes()) + 4 * rows * static_cast<double>(in + out);
    const double flop = 2 * rows * static_cast<double>(in) * static_cast<double>(out);
    const double floor = std::max(bytes / bandwidth, flop / peak);
    std::printf("%6.0f %9.3f %8.1f %9.0f %8.2f %9.3f %8.2f | %9.3f %8.2f %8.2f | %8.3f\n", rows,
                time * 1e3, bytes / time * 1e-9, flop / time * 1e-9, time / Median(seconds[0]),
                floor * 1e3, time / floor, best * 1e3, best / Least(seconds[0]), best / floor,
                Median(cpu_seconds[i]) * 1e3);
  }
}

int Main(int argc, char** argv) {
  Options options;
  if (!Parse(argc, argv, &options)) {
    std::fprintf(stderr,
                 "usage: linear_bench [--isa LEVEL] [--format FORMAT] [--threads N] "
                 "[--rows N] [--shape OUTxIN] [--reps N]\n");
    return 2;
  }
  for (const int threads : options.threads) {
    ThreadPool pool(threads);
    for (const std::string& format : options.formats) {
      ops::WeightFormat weights;
      if (!ParseFormat(format, &weights)) return 2;
      for (const std::string& name : options.isas) {
        const auto isa = cpu::ParseIsa(name);
        if (!isa.ok()) {
          std::fprintf(stderr, "%s\n", isa.status().message().c_str());
          return 2;
        }
        for (const auto& [out, in] : options.shapes) {
          std::printf("\n== %s, %s weights, %d threads: ", name.c_str(), format.c_str(),
                      pool.size());
          RunShape(out, in, *isa, weights, pool, options);
          std::fflush(stdout);
        }
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) { return tessera::bench::Main(argc, argv); }
