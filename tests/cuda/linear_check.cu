// Checks and times the products of linear layers (kernels.h: Linears) and the packer of weights.
//
//   cmake --build build/cuda --target linear_check
//   build/cuda/tests/cuda/linear_check small          few cases, for compute-sanitizer
//   build/cuda/tests/cuda/linear_check check          every format and shape
//   build/cuda/tests/cuda/linear_check time [FORMAT]  LLaDA-8B's layers
#include <atomic>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/cuda/linear_harness.h"
#include "tests/cuda/linear_time.h"
#include "tests/cuda/need_gpu.h"

namespace tessera::cuda {
namespace {

// What a product is made of, on the host.
struct Operands {
  const HostWeight& weight;
  const std::vector<float>& x;         // [rows, in]
  const std::vector<double>& factors;  // [rows] of the norm, or empty
  const std::vector<float>& bias;      // [out], or empty

  struct Value {
    double value, size;  // the size is the sum of magnitudes: what errors are relative to
  };
  Value At(int64_t row, int64_t feature) const {
    const float* w = weight.Row(feature);
    const float* a = x.data() + row * weight.in();
    double sum = 0, size = 0;
    for (int64_t k = 0; k < weight.in(); ++k) {
      const double product = static_cast<double>(w[k]) * static_cast<double>(a[k]);
      sum += product;
      size += std::abs(product);
    }
    const double factor = factors.empty() ? 1 : factors[static_cast<size_t>(row)];
    const double shift = bias.empty() ? 0 : static_cast<double>(bias[static_cast<size_t>(feature)]);
    return {sum * factor + shift, size * factor + std::abs(shift)};
  }
};

constexpr double kTolerance = 1e-5;

// Calls check(row, feature), which returns whether it passed, for all features of two rows and
// some of the others.
template <typename Check>
void ForSamples(Rig& rig, int64_t rows, int64_t begin, int64_t end, const std::string& what,
                Check&& check) {
  std::atomic<int64_t> wrong = 0, example = -1;
  rig.pool.ParallelFor(end - begin, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t f = begin + first; f < begin + last; ++f) {
      const bool all = f % std::max<int64_t>(1, (end - begin) / 48) == 0 || f + 1 == end;
      for (int64_t row = 0; row < rows; row += all ? 1 : std::max<int64_t>(1, rows - 1)) {
        if (!check(row, f)) ++wrong, example = row * (1 << 20) + f;
      }
    }
  });
  Expect(wrong == 0, what + ": " + std::to_string(wrong) + " wrong, for example row " +
                         std::to_string(example / (1 << 20)) + " feature " +
                         std::to_string(example % (1 << 20)));
}

void CheckRows(Rig& rig, const Operands& operands, int64_t rows, int64_t begin, int64_t end,
               const std::vector<float>& before, const std::vector<float>& y,
               const std::string& what) {
  ForSamples(rig, rows, begin, end, what, [&](int64_t row, int64_t f) {
    const auto [value, size] = operands.At(row, f);
    const auto at = static_cast<size_t>(row * (end - begin) + f - begin);
    const double old = before.empty() ? 0 : static_cast<double>(before[at]);
    return std::abs(static_cast<double>(y[at]) - old - value) <=
           kTolerance * size + 1e-6 * std::abs(old);
  });
}

void CheckSilu(Rig& rig, const Operands& operands, int64_t rows, const std::vector<BF16>& packed,
               const std::string& what) {
  const int64_t half = operands.weight.out() / 2;
  std::vector<float> y;
  Expect(UnpackRows(packed, rows, half, &y), what + ": padding of the width");
  ForSamples(rig, rows, 0, half, what, [&](int64_t row, int64_t f) {
    const auto gate = operands.At(row, f), up = operands.At(row, half + f);
    const double silu = gate.value / (1 + std::exp(-gate.value)), v = silu * up.value;
    const double bound = std::abs(v) * 0x1p-8 + kTolerance * (1.1 * gate.size * std::abs(up.value) +
                                                              std::abs(silu) * up.size);
    return std::abs(static_cast<double>(y[static_cast<size_t>(row * half + f)]) - v) <= bound;
  });
}

void CheckResidual(Rig& rig, const Operands& operands, int64_t rows, const Residual& result,
                   const std::string& what) {
  const int64_t out = operands.weight.out();
  CheckRows(rig, operands, rows, 0, out, result.before, result.after, what + ", hidden");
  std::vector<float> x;
  Expect(UnpackRows(result.packed, rows, out, &x), what + ": padding of the width");
  bool equal = true, close = true;
  for (int64_t row = 0; row < rows; ++row) {
    double sum = 0;
    for (int64_t f = 0; f < out; ++f) {
      const auto at = static_cast<size_t>(row * out + f);
      const float h = result.after[at];
      equal =
          equal && x[at] == FloatFromBF16(BF16FromFloat(h * result.norm[static_cast<size_t>(f)]));
      sum += static_cast<double>(h) * static_cast<double>(h);
      if (f % 64 != 63 && f + 1 != out) continue;
      const float got = result.square_sums[static_cast<size_t>(f / 64 * PaddedRows(rows) + row)];
      close = close && std::abs(static_cast<double>(got) - sum) <= kTolerance * sum;
      sum = 0;
    }
  }
  Expect(equal, what + ": packed is not bf16(hidden * norm)");
  Expect(close, what + ": square sums");
}

// The factors that square sums [ceil(in / 64)][padded rows] stand for.
std::vector<double> Factors(const std::vector<float>& square_sums, int64_t rows, int64_t in) {
  std::vector<double> factors;
  for (int64_t row = 0; row < rows; ++row) {
    double sum = 0;
    for (int64_t i = 0; i < (in + 63) / 64; ++i) {
      sum += static_cast<double>(square_sums[static_cast<size_t>(i * PaddedRows(rows) + row)]);
    }
    factors.push_back(1 / std::sqrt(sum / static_cast<double>(in) + static_cast<double>(kEps)));
  }
  return factors;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b, size_t count) {
  return std::memcmp(a.data(), b.data(), count * sizeof(float)) == 0;
}

std::vector<float> RunRows(Rig& rig, const WeightView& weight, const std::vector<float>& x,
                           int64_t rows, const std::string& what) {
  const DeviceMemory packed = Upload(rig, PackedRows(x, rows, weight.in));
  const DeviceMemory y = Allocate(rig, (rows + 8) * weight.out * 4);
  const LinearStep step = {
      .weight = weight, .x = packed.as<BF16>(), .y = y.as<float>(), .stride = weight.out};
  rig.Run(rows, {&step, 1});
  std::vector<float> values = Download<float>(rig, y.data(), (rows + 8) * weight.out);
  bool untouched = true;
  for (size_t i = static_cast<size_t>(rows * weight.out); i < values.size(); ++i) {
    untouched = untouched && std::isnan(values[i]);
  }
  Expect(untouched, what + ": writes rows that are not there");
  return values;
}

// Plain products at every number of rows: right, and the same bits.
void CheckProducts(Rig& rig, const HostWeight& host, const WeightView& weight,
                   std::span<const int64_t> counts, const std::string& name) {
  const int64_t most = counts.back();
  const std::vector<float> x = RandomRows(most, host.in(), 11);
  const std::vector<float> all = RunRows(rig, weight, x, most, name);
  CheckRows(rig, {host, x, {}, {}}, most, 0, host.out(), {}, all, name);
  for (const int64_t rows : counts) {
    const std::string what = name + ", " + std::to_string(rows) + " rows";
    for (int repeat = 0; repeat < 2; ++repeat) {
      Expect(SameBits(RunRows(rig, weight, x, rows, what), all,
                      static_cast<size_t>(rows * host.out())),
             what + ": other bits than at " + std::to_string(most) + " rows");
    }
  }
}

// Bias, norm factors, accumulation, ranges of features, and the packed outputs.
void CheckOutputs(Rig& rig, const HostWeight& host, const WeightView& weight, int64_t rows,
                  const std::string& name) {
  const int64_t in = host.in(), out = host.out(), padded = PaddedRows(rows);
  const std::string what = name + ", " + std::to_string(rows) + " rows";
  const std::vector<float> x = RandomRows(rows, in, 21);
  const std::vector<float> bias = RandomFloats(out, 0.5f, 0, 22);
  const std::vector<float> squares = RandomFloats((in + 63) / 64 * padded, 30, 40, 23);
  const std::vector<double> factors = Factors(squares, rows, in);
  const DeviceMemory packed = Upload(rig, PackedRows(x, rows, in));
  const DeviceMemory device_bias = Upload(rig, bias), device_squares = Upload(rig, squares);
  const Operands operands = {host, x, factors, bias};
  LinearStep step = {.weight = weight,
                     .x = packed.as<BF16>(),
                     .square_sums = device_squares.as<float>(),
                     .eps = kEps,
                     .bias = device_bias.as<float>()};
  if (weight.paired) {
    const DeviceMemory to = Allocate(rig, ActivationElements(padded, out / 2) * 2);
    step.output = Output::kSilu;
    step.packed = to.as<BF16>();
    rig.Run(rows, {&step, 1});
    const auto result = Download<BF16>(rig, to.data(), ActivationElements(padded, out / 2));
    CheckSilu(rig, operands, rows, result, what + ", silu");
    return;
  }
  struct Range {
    int64_t begin, end;
  };
  std::vector<Range> ranges = {{0, out}};
  if (out > kBand) ranges.push_back({kBand, out});
  if (out > 3 * kBand) ranges.push_back({kBand, 3 * kBand});
  for (const auto [begin, end] : ranges) {
    const std::vector<float> before = RandomFloats(rows * (end - begin), 1, 0, 24);
    const DeviceMemory y = Upload(rig, before);
    step.y = y.as<float>();
    step.stride = end - begin;
    step.feature_begin = begin;
    step.feature_end = end == out ? -1 : end;
    step.accumulate = true;
    rig.Run(rows, {&step, 1});
    CheckRows(rig, operands, rows, begin, end, before,
              Download<float>(rig, y.data(), rows * (end - begin)),
              what + ", features " + std::to_string(begin) + " to " + std::to_string(end));
  }
  step.feature_begin = 0;
  step.feature_end = -1;
  step.output = Output::kResidual;
  Residual residual = {.before = RandomFloats(rows * out, 1, 0, 25),
                       .norm = RandomFloats(out, 0.5f, 1, 26)};
  const DeviceMemory hidden = Upload(rig, residual.before), norm = Upload(rig, residual.norm);
  const DeviceMemory to = Allocate(rig, ActivationElements(padded, out) * 2);
  const DeviceMemory sums = Allocate(rig, (out + 63) / 64 * padded * 4);
  step.hidden = hidden.as<float>();
  step.norm_weight = norm.as<float>();
  step.out_square_sums = sums.as<float>();
  step.packed = to.as<BF16>();
  rig.Run(rows, {&step, 1});
  residual.after = Download<float>(rig, hidden.data(), rows * out);
  residual.square_sums = Download<float>(rig, sums.data(), (out + 63) / 64 * padded);
  residual.packed = Download<BF16>(rig, to.data(), ActivationElements(padded, out));
  CheckResidual(rig, operands, rows, residual, what + ", residual");
}

void CheckPacker(Rig& rig, const HostWeight& host, const std::string& name) {
  const auto matrix = Must(rig.packer.Pack(rig.stream.get(), host.Source()));
  const WeightView& view = matrix->view();
  Expect(view.out == host.out() && view.in == host.in() && view.paired == host.View().paired,
         name + ": shape of the packed matrix");
  Expect(Download<std::byte>(rig, view.data, static_cast<int64_t>(host.packed().size())) ==
             host.packed(),
         name + ": packed bytes");
  const auto scales = static_cast<int64_t>(host.feature_scales().size());
  Expect((view.feature_scales != nullptr) == (scales > 0), name + ": scales of features");
  if (scales > 0 && view.feature_scales != nullptr) {
    Expect(Download<float>(rig, view.feature_scales, scales) == host.feature_scales(),
           name + ": scales of features");
  }
}

// Every step by itself against the host, then all in one launch, with the same bits.
void CheckChain(Rig& rig, const ops::WeightFormat& format, int64_t width, int64_t ffn, int64_t qkv,
                std::span<const int64_t> counts) {
  const std::string name = "chain " + Name(format) + " width " + std::to_string(width);
  const HostWeight host[4] = {{format, width, width, false, 41, rig.pool},
                              {format, 2 * ffn, width, true, 42, rig.pool},
                              {format, width, ffn, false, 43, rig.pool},
                              {format, qkv, width, false, 44, rig.pool}};
  const DeviceWeight device[4] = {{rig, host[0]}, {rig, host[1]}, {rig, host[2]}, {rig, host[3]}};
  for (const int64_t rows : counts) {
    const std::string what = name + ", " + std::to_string(rows) + " rows";
    Layer single(rig, width, ffn, qkv, rows), chain(rig, width, ffn, qkv, rows);
    const auto steps = single.Steps(device[0].view, device[1].view, device[2].view, device[3].view);
    rig.Run(rows, {&steps[0], 1});
    Residual first = single.ReadResidual(rig, single.x, single.sums);
    first.before = single.hidden_before;
    CheckResidual(rig, {host[0], single.attention_before, {}, {}}, rows, first, what + ", o");

    rig.Run(rows, {&steps[1], 1});
    const auto silu =
        Download<BF16>(rig, single.silu.data(), ActivationElements(PaddedRows(rows), ffn));
    std::vector<float> x;
    UnpackRows(first.packed, rows, width, &x);
    const std::vector<double> factors = Factors(first.square_sums, rows, width);
    CheckSilu(rig, {host[1], x, factors, {}}, rows, silu, what + ", gate and up");

    rig.Run(rows, {&steps[2], 1});
    Residual second = single.ReadResidual(rig, single.next_x, single.next_sums);
    second.before = first.after;
    UnpackRows(silu, rows, ffn, &x);
    CheckResidual(rig, {host[2], x, {}, {}}, rows, second, what + ", down");

    rig.Run(rows, {&steps[3], 1});
    const auto y = Download<float>(rig, single.y.data(), rows * qkv);
    UnpackRows(second.packed, rows, width, &x);
    const std::vector<double> next_factors = Factors(second.square_sums, rows, width);
    CheckRows(rig, {host[3], x, next_factors, {}}, rows, 0, qkv, {}, y, what + ", qkv");

    rig.Run(rows, chain.Steps(device[0].view, device[1].view, device[2].view, device[3].view));
    const auto size = static_cast<size_t>(rows * width);
    Expect(SameBits(Download<float>(rig, chain.hidden.data(), rows * width), second.after, size),
           what + ": other hidden rows in one launch");
    Expect(SameBits(Download<float>(rig, chain.y.data(), rows * qkv), y, y.size()),
           what + ": other qkv in one launch");
  }
}

ops::WeightFormat Format(const std::string& text) { return Must(ops::ParseWeightFormat(text)); }

// Formats with one kernel each, and those that differ in their layout alone.
const std::vector<std::string> kMainFormats = {"bf16",     "fp8",      "int8-g256",
                                               "int8-g32", "int4-g64", "int4-g64-asym"};
const std::vector<std::string> kOtherFormats = {
    "int8-g0",   "int8-g64",  "int8-g128",     "int4-g0",        "int4-g32",
    "int4-g128", "int4-g256", "int4-g32-asym", "int4-g128-asym", "int4-g0-asym"};

void CheckFormat(Rig& rig, const std::string& format, int64_t out, int64_t in,
                 std::span<const int64_t> counts) {
  const std::string name = format + " " + std::to_string(out) + "x" + std::to_string(in);
  const HostWeight host(Format(format), out, in, /*paired=*/false, 1, rig.pool);
  const DeviceWeight device(rig, host);
  CheckPacker(rig, host, name);
  CheckProducts(rig, host, device.view, counts, name);
  for (const int64_t rows : {int64_t{1}, counts.back()}) {
    CheckOutputs(rig, host, device.view, rows, name);
  }
  if (host.View().format.type == ops::WeightType::kInt4) {
    // The kernel for codes that may saturate gives the same numbers where none does.
    WeightView saturates = device.view;
    saturates.saturates = true;
    const std::vector<float> x = RandomRows(9, in, 61);
    CheckRows(rig, {host, x, {}, {}}, 9, 0, out, {}, RunRows(rig, saturates, x, 9, name),
              name + ", may saturate");
  }
  if (out % 16 == 0) {
    const HostWeight paired(Format(format), out, in, /*paired=*/true, 2, rig.pool);
    const DeviceWeight device_paired(rig, paired);
    CheckPacker(rig, paired, name + " paired");
    CheckProducts(rig, paired, device_paired.view, counts.last(1), name + " paired");
    for (const int64_t rows : {int64_t{1}, counts.back()}) {
      CheckOutputs(rig, paired, device_paired.view, rows, name + " paired");
    }
  }
  std::printf("%s: %s\n", name.c_str(), failures == 0 ? "ok" : "failures so far");
  std::fflush(stdout);
}

void CheckSmall(Rig& rig) {
  const int64_t counts[] = {1, 9, 33, 129};
  for (const char* format : {"bf16", "fp8", "int8-g32", "int4-g64-asym"}) {
    CheckFormat(rig, format, 304, 520, counts);
    CheckFormat(rig, format, 24, 64, counts);
  }
  CheckChain(rig, Format("int4-g64"), 520, 1096, 300, std::span(counts).first(2));
}

void CheckAll(Rig& rig) {
  const int64_t counts[] = {1,  2,  7,  8,   9,   16,  17,  31,  32,
                            33, 64, 65, 100, 128, 129, 256, 257, 300};
  const int64_t few[] = {1, 8, 33, 129, 300};
  for (const std::string& format : kMainFormats) {
    for (const auto& [out, in] : {std::pair{300, 520}, {24, 64}, {4096, 4096}, {304, 1000}}) {
      CheckFormat(rig, format, out, in, counts);
    }
    for (const auto& [out, in] : {std::pair{12288, 4096}, {4096, 12288}, {151936, 1024}}) {
      CheckFormat(rig, format, out, in, few);
    }
    CheckChain(rig, Format(format), 520, 1096, 300, counts);
    CheckChain(rig, Format(format), 1024, 2816, 1536, few);
    CheckChain(rig, Format(format), 4096, 12288, 12288, few);
  }
  for (const std::string& format : kOtherFormats) {
    for (const auto& [out, in] : {std::pair{300, 520}, {24, 64}, {4096, 4096}}) {
      CheckFormat(rig, format, out, in, few);
    }
    CheckChain(rig, Format(format), 520, 1096, 300, few);
  }
}

int Main(std::span<char*> arguments) {
  const std::string verb = arguments.size() > 1 ? arguments[1] : "";
  if (verb != "small" && verb != "check" && verb != "time") {
    std::printf("usage: linear_check small | check | time [FORMAT]\n");
    return 2;
  }
  Rig rig;
  if (verb == "time") {
    const double bandwidth = ReadBandwidth(rig);
    std::printf("memory is read at %.0f GB/s\n", bandwidth / 1e9);
    std::vector<std::string> formats = kMainFormats;
    if (arguments.size() > 2) formats = {arguments[2]};
    for (const std::string& format : formats) TimeFormat(rig, Format(format), bandwidth);
    return 0;
  }
  verb == "small" ? CheckSmall(rig) : CheckAll(rig);
  std::printf("%s: %d failures\n", failures == 0 ? "PASS" : "FAIL", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tessera::cuda

int main(int argc, char** argv) {
  if (!tessera::cuda::HasGpu()) return tessera::cuda::kSkipped;
  return tessera::cuda::Main({argv, static_cast<size_t>(argc)});
}
