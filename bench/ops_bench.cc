// What the operations beside the linears cost, next to the linears of the same layer.
//
//   ops_bench [--isa LEVEL] [--threads N] [--reps N] [--kv f32|bf16|int8]
//
// Sizes are LLaDA-8B's: 32 heads of 128, width 4096, MLP 12288, vocabulary 126464. One thread is
// timed by the processor time it got, several by the clock on the wall; times are medians, with the
// fastest turn beside them.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tessera/backend/cpu/rates.h"
#include "tessera/backend/registry.h"
#include "tessera/base/thread_pool.h"

namespace tessera::bench {

using cpu::Now;
using cpu::ThreadNow;

namespace {

struct Options {
  std::string isa = "auto";
  int threads = 0;
  int reps = 7;
  ops::KvType kv = ops::KvType::kBF16;
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {
    auto device =
        backend::MakeDevice({.name = "cpu", .isa = options.isa, .threads = options.threads});
    if (!device.ok()) {
      std::fprintf(stderr, "%s\n", device.status().message().c_str());
      std::exit(2);
    }
    device_ = std::move(*device);
    one_thread_ = (options.threads > 0 ? options.threads : AvailableCores()) == 1;
  }

  ops::Device& device() { return *device_; }
  ops::KvType kv() const { return options_.kv; }

  // Median seconds of `body`; prints a line.
  template <typename Body>
  double Time(const std::string& name, double flop, double bytes, const Body& body) {
    double (*const now)() = one_thread_ ? ThreadNow : Now;
    body();
    std::vector<double> seconds;
    for (int i = 0; i < options_.reps; ++i) {
      const double start = now();
      body();
      seconds.push_back(now() - start);
    }
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    std::printf("%-44s %9.3f ms  best %9.3f ms  %7.1f GFLOP/s  %6.1f GB/s\n", name.c_str(),
                median * 1e3, seconds[0] * 1e3, flop / seconds[0] * 1e-9,
                bytes / seconds[0] * 1e-9);
    std::fflush(stdout);
    return median;
  }

 private:
  Options options_;
  std::unique_ptr<ops::Device> device_;
  bool one_thread_;
};

std::vector<float> Values(size_t count, float scale) {
  std::vector<float> values(count);
  uint32_t state = 12345;
  for (float& value : values) {
    state = state * 1664525 + 1013904223;
    value = scale * (static_cast<float>(state >> 8) * 0x1p-23f - 1);
  }
  return values;
}

std::unique_ptr<ops::Matrix> Weight(Bench& bench, int64_t out, int64_t in) {
  std::vector<uint16_t> values(static_cast<size_t>(out * in));
  uint32_t state = 1;
  for (uint16_t& value : values) {
    state = state * 1664525 + 1013904223;
    value = static_cast<uint16_t>(0x3c00 | (state >> 16 & 0x8000) | (state >> 24));
  }
  const TensorView view = {
      reinterpret_cast<const std::byte*>(values.data()), DType::kBF16, {out, in}};
  auto matrix = bench.device().Pack({.parts = {view}, .format = {}});
  TESSERA_CHECK(matrix.ok());
  return std::move(*matrix);
}

struct AttentionCase {
  int32_t rows, keys, heads, kv_heads, head_dim;
  ops::MaskRule rule;
};

void TimeAttention(Bench& bench, const AttentionCase& c) {
  const ops::KvFormat format = {.type = bench.kv(), .kv_heads = c.kv_heads, .head_dim = c.head_dim};
  const int32_t num_pages = (c.keys + ops::kPageRows - 1) / ops::kPageRows;
  std::vector<int32_t> pages(num_pages), slots(c.rows);
  for (int32_t i = 0; i < num_pages; ++i) pages[i] = num_pages - 1 - i;
  const int64_t width = int64_t{c.heads + 2 * c.kv_heads} * c.head_dim;
  auto k = bench.device().Allocate(bench.device().KvPageBytes(format) * num_pages);
  auto v = bench.device().Allocate(bench.device().KvPageBytes(format) * num_pages);
  TESSERA_CHECK(k.ok() && v.ok());
  const ops::KvLayer kv = {.format = format, .k = (*k)->data, .v = (*v)->data};
  const ops::SlotRange range = {0, c.keys};
  std::vector<ops::AttentionGroup> groups = {
      {.row_begin = 0,
       .row_end = 0,
       .pages = pages,
       .mask = {.rule = c.rule, .block = 32, .slots = {&range, 1}, .bits = {}}}};
  std::vector<float> qkv = Values(c.rows * width, 1.5f), cos_sin(c.rows * c.head_dim, 0.7f);
  const auto store = [&](int32_t begin) {
    for (int32_t i = 0; i < c.rows; ++i) slots[i] = std::min(begin + i, c.keys - 1);
    groups[0].row_end = c.rows;
    TESSERA_CHECK(bench.device()
                      .RotateAndStore({.rows = c.rows,
                                       .qkv = qkv.data(),
                                       .heads = c.heads,
                                       .q_norm = nullptr,
                                       .k_norm = nullptr,
                                       .norm_eps = 0,
                                       .rotary_dim = c.head_dim,
                                       .cos_sin = cos_sin.data(),
                                       .slots = slots,
                                       .groups = groups,
                                       .kv = kv})
                      .ok());
  };
  for (int32_t begin = 0; begin < c.keys; begin += c.rows) {
    qkv = Values(c.rows * width, 1.5f);
    store(begin);
  }
  const std::string name = std::to_string(c.rows) + " rows x " + std::to_string(c.keys) +
                           " keys x " + std::to_string(c.heads) + "/" + std::to_string(c.kv_heads) +
                           " heads" + (c.rule == ops::MaskRule::kFull ? "" : ", causal");
  bench.Time("RotateAndStore " + name, 0, static_cast<double>(c.rows * width * 4),
             [&] { store(c.keys - c.rows); });
  std::vector<float> out(static_cast<size_t>(c.rows) * c.heads * c.head_dim);
  const double pairs = c.rule == ops::MaskRule::kFull || c.rows < c.keys ? 1 : 0.5;
  bench.Time("Attention " + name, pairs * 4.0 * c.rows * c.keys * c.heads * c.head_dim,
             2.0 * static_cast<double>(bench.device().KvPageBytes(format)) * num_pages, [&] {
               TESSERA_CHECK(bench.device()
                                 .Attention({.qkv = qkv.data(),
                                             .heads = c.heads,
                                             .scale = 0.0884f,
                                             .slots = slots,
                                             .groups = groups,
                                             .kv = kv,
                                             .out = out.data()})
                                 .ok());
             });
}

void TimeLayer(Bench& bench, int64_t rows) {
  const auto qkv = Weight(bench, 12288, 4096), o = Weight(bench, 4096, 4096);
  const auto gate_up = Weight(bench, 24576, 4096), down = Weight(bench, 4096, 12288);
  std::vector<float> x = Values(rows * 4096, 1), y(rows * 24576), z(rows * 12288);
  const std::vector<float> norm = Values(4096, 1);
  const double weights = 4096.0 * (12288 + 4096 + 24576 + 12288);
  const std::string suffix = ", " + std::to_string(rows) + " rows";
  bench.Time(
      "linears of a layer" + suffix, 2 * weights * static_cast<double>(rows), 2 * weights, [&] {
        for (const ops::Matrix* w : {qkv.get(), o.get(), gate_up.get()}) {
          TESSERA_CHECK(
              bench.device()
                  .Linear(
                      {.rows = rows, .x = x.data(), .weight = w, .bias = nullptr, .y = y.data()})
                  .ok());
        }
        TESSERA_CHECK(bench.device()
                          .Linear({.rows = rows,
                                   .x = z.data(),
                                   .weight = down.get(),
                                   .bias = nullptr,
                                   .y = y.data()})
                          .ok());
      });
  bench.Time("RmsNorm" + suffix, 0, static_cast<double>(rows * 4096 * 8), [&] {
    TESSERA_CHECK(bench.device()
                      .RmsNorm({.rows = rows,
                                .width = 4096,
                                .x = x.data(),
                                .weight = norm.data(),
                                .eps = 1e-5f,
                                .out = y.data()})
                      .ok());
  });
  bench.Time("SiluMul" + suffix, 0, static_cast<double>(rows * 12288 * 12), [&] {
    TESSERA_CHECK(bench.device()
                      .SiluMul({.rows = rows, .width = 12288, .gate_up = y.data(), .out = z.data()})
                      .ok());
  });
}

void TimeHead(Bench& bench, int64_t rows) {
  constexpr int64_t kVocab = 126464, kIn = 4096;
  const auto head = Weight(bench, kVocab, kIn);
  const std::vector<float> hidden = Values(rows * kIn, 1);
  std::vector<float> logits(static_cast<size_t>(rows * kVocab));
  const double flop = 2.0 * static_cast<double>(rows) * kVocab * kIn, bytes = 2.0 * kVocab * kIn;
  const std::string suffix = ", " + std::to_string(rows) + " rows";
  const double plain = bench.Time("HeadLogits" + suffix, flop, bytes, [&] {
    TESSERA_CHECK(bench.device()
                      .HeadLogits({.rows = rows,
                                   .hidden = hidden.data(),
                                   .head = head.get(),
                                   .logits = logits.data()})
                      .ok());
  });
  struct Case {
    const char* name;
    float temperature, top_p;
    bool filtered;
  };
  for (const Case c : {Case{"T=0", 0, 1, false},
                       {"T=1", 1, 1, false},
                       {"T=0.2 top-p 0.95 (Dream)", 0.2f, 0.95f, true}}) {
    ops::SamplingSpec spec;
    spec.temperature = c.temperature;
    spec.top_p = c.top_p;
    spec.stats_of_filtered = c.filtered;
    spec.banned = {126336};
    std::vector<ops::RowRequest> requests(rows);
    for (int64_t i = 0; i < rows; ++i) {
      requests[i].row = static_cast<int32_t>(i);
      requests[i].sampling = &spec;
      requests[i].key.position = static_cast<int32_t>(i);
    }
    std::vector<ops::RowStats> stats(rows);
    const double time = bench.Time("HeadStats " + std::string(c.name) + suffix, flop, bytes, [&] {
      TESSERA_CHECK(bench.device()
                        .HeadStats({.rows = rows,
                                    .hidden = hidden.data(),
                                    .head = head.get(),
                                    .requests = requests,
                                    .stats = stats})
                        .ok());
    });
    std::printf("%46s %+.1f %% over HeadLogits\n", "", (time / plain - 1) * 100);
  }
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--isa") {
      options.isa = value;
    } else if (flag == "--threads") {
      options.threads = std::atoi(value);
    } else if (flag == "--reps" && std::atoi(value) > 0) {
      options.reps = std::atoi(value);
    } else if (const auto kv = ops::ParseKvType(value); flag == "--kv" && kv.ok()) {
      options.kv = *kv;
    } else {
      std::fprintf(
          stderr, "usage: ops_bench [--isa LEVEL] [--threads N] [--reps N] [--kv f32|bf16|int8]\n");
      return 2;
    }
  }
  Bench bench(options);
  using ops::MaskRule;
  for (const AttentionCase& c : {AttentionCase{1, 1280, 32, 32, 128, MaskRule::kFull},
                                 {32, 1280, 32, 32, 128, MaskRule::kFull},
                                 {32, 1280, 28, 4, 128, MaskRule::kFull},
                                 {1, 32768, 28, 4, 128, MaskRule::kFull},
                                 {1280, 1280, 32, 32, 128, MaskRule::kFull},
                                 {1280, 1280, 32, 32, 128, MaskRule::kCausal}}) {
    TimeAttention(bench, c);
  }
  TimeLayer(bench, 32);
  TimeHead(bench, 32);
  return 0;
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) { return tessera::bench::Main(argc, argv); }
