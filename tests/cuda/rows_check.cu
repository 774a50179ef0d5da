// Checks what surrounds the products: packed activations, embeddings, and the products for GPUs
// without wgmma, which run on every GPU. Times the first two at LLaDA-8B's width.
//
//   cmake --build build/cuda --target rows_check
//   build/cuda/tests/cuda/rows_check [time]
#include <string>
#include <string_view>
#include <vector>

#include "tessera/backend/cuda/linear_plain.h"
#include "tests/cuda/linear_time.h"
#include "tests/cuda/need_gpu.h"

namespace tessera::cuda {
namespace {

constexpr double kTolerance = 1e-5;

// The rows of a [.., width] that `packed` should hold after `factors`, weights and rounding.
bool PackedAre(const std::vector<BF16>& packed, const std::vector<float>& x,
               const std::vector<int32_t>& rows, const std::vector<float>& norm,
               const std::vector<double>& factors, int64_t width) {
  const auto count = static_cast<int64_t>(rows.size());
  std::vector<float> got;
  if (!UnpackRows(packed, count, width, &got)) return false;
  for (int64_t i = 0; i < count; ++i) {
    const auto row = static_cast<size_t>(i);
    for (int64_t k = 0; k < width; ++k) {
      const double value = static_cast<double>(x[static_cast<size_t>(rows[row] * width + k)]) *
                           (norm.empty() ? 1 : static_cast<double>(norm[static_cast<size_t>(k)])) *
                           (factors.empty() ? 1 : factors[static_cast<size_t>(rows[row])]);
      const double error = static_cast<double>(got[static_cast<size_t>(i * width + k)]) - value;
      if (!(std::abs(error) <= (0x1p-8 + kTolerance) * std::abs(value))) return false;
    }
  }
  return true;
}

void CheckPacking(Rig& rig, int64_t rows, int64_t width) {
  const std::string what = std::to_string(rows) + " rows of " + std::to_string(width);
  const int64_t padded = PaddedRows(rows), chunks = (width + 63) / 64;
  const std::vector<float> x = RandomFloats(rows * width, 1, 0.25f, 1);
  const std::vector<float> norm = RandomFloats(width, 0.5f, 1, 2);
  const DeviceMemory device_x = Upload(rig, x), device_norm = Upload(rig, norm);
  const int64_t elements = ActivationElements(padded, width);
  const DeviceMemory packed = Allocate(rig, elements * 2);
  const DeviceMemory sums = Allocate(rig, chunks * padded * 4);
  std::vector<int32_t> all, reversed;
  for (int64_t row = 0; row < rows; ++row) {
    all.push_back(static_cast<int32_t>(row));
    reversed.push_back(static_cast<int32_t>(rows - 1 - row));
  }

  Must(PackRows(rig.stream.get(), rows, width, device_x.as<float>(), packed.as<BF16>()));
  Expect(PackedAre(Download<BF16>(rig, packed.data(), elements), x, all, {}, {}, width),
         "PackRows, " + what);

  Must(NormPack(rig.stream.get(), {.rows = rows,
                                   .width = width,
                                   .hidden = device_x.as<float>(),
                                   .norm_weight = device_norm.as<float>(),
                                   .packed = packed.as<BF16>(),
                                   .square_sums = sums.as<float>()}));
  Expect(PackedAre(Download<BF16>(rig, packed.data(), elements), x, all, norm, {}, width),
         "NormPack, " + what);
  const auto squares = Download<float>(rig, sums.data(), chunks * padded);
  std::vector<double> factors;
  bool close = true;
  for (int64_t row = 0; row < rows; ++row) {
    double total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      double sum = 0;
      for (int64_t k = chunk * 64; k < std::min(width, chunk * 64 + 64); ++k) {
        const auto value = static_cast<double>(x[static_cast<size_t>(row * width + k)]);
        sum += value * value;
      }
      const auto got = static_cast<double>(squares[static_cast<size_t>(chunk * padded + row)]);
      close = close && std::abs(got - sum) <= kTolerance * sum;
      total += sum;
    }
    factors.push_back(1 /
                      std::sqrt(total / static_cast<double>(width) + static_cast<double>(kEps)));
  }
  Expect(close, "square sums, " + what);

  const DeviceMemory chosen = Upload(rig, reversed);
  Must(GatherNormPack(rig.stream.get(), chosen.as<int32_t>(), rows, width, device_x.as<float>(),
                      device_norm.as<float>(), kEps, packed.as<BF16>()));
  Expect(PackedAre(Download<BF16>(rig, packed.data(), elements), x, reversed, norm, factors, width),
         "GatherNormPack, " + what);
}

void CheckEmbedding(Rig& rig, const HostWeight& host, const WeightView& view,
                    const std::string& name) {
  std::vector<int32_t> tokens;
  for (int64_t row = 0; row < host.out(); row += 7) tokens.push_back(static_cast<int32_t>(row));
  const auto count = static_cast<int64_t>(tokens.size());
  const DeviceMemory device_tokens = Upload(rig, tokens);
  const DeviceMemory out = Allocate(rig, count * host.in() * 4);
  Must(EmbedRows(rig.stream.get(), view, device_tokens.as<int32_t>(), count, out.as<float>()));
  const auto got = Download<float>(rig, out.data(), count * host.in());
  bool equal = true;
  for (size_t i = 0; i < tokens.size(); ++i) {
    equal = equal && std::memcmp(got.data() + static_cast<int64_t>(i) * host.in(),
                                 host.Row(tokens[i]), static_cast<size_t>(host.in()) * 4) == 0;
  }
  Expect(equal, "EmbedRows, " + name);
}

// Against the host, and the same bits at every number of rows.
void CheckPlainProducts(Rig& rig, const HostWeight& host, const WeightView& view,
                        const std::string& name) {
  const int64_t counts[] = {300, 1, 8, 9, 33, 64, 65, 129};
  const int64_t in = host.in(), out = host.out();
  const std::vector<float> x = RandomRows(counts[0], in, 11);
  const std::vector<float> bias = RandomFloats(out, 0.5f, 0, 12);
  const DeviceMemory device_bias = Upload(rig, bias);
  std::vector<float> all;
  for (const int64_t rows : counts) {
    const DeviceMemory packed = Upload(rig, PackedRows(x, rows, in));
    const DeviceMemory y = Allocate(rig, (rows + 8) * out * 4);
    const LinearStep step = {.weight = view,
                             .x = packed.as<BF16>(),
                             .bias = device_bias.as<float>(),
                             .y = y.as<float>(),
                             .stride = out};
    Must(LinearsPlain(rig.stream.get(), rig.gpu, rows, {&step, 1}));
    const auto got = Download<float>(rig, y.data(), (rows + 8) * out);
    const auto size = static_cast<size_t>(rows * out);
    Expect(std::isnan(got[size]) && std::isnan(got.back()), name + ": writes surplus rows");
    if (all.empty()) all = got;
    Expect(std::memcmp(got.data(), all.data(), size * 4) == 0,
           name + ": other bits at " + std::to_string(rows) + " rows");
  }
  bool close = true;
  for (int64_t row = 0; row < counts[0]; row += 13) {
    for (int64_t f = 0; f < out; ++f) {
      auto sum = static_cast<double>(bias[static_cast<size_t>(f)]);
      double size = std::abs(sum);
      for (int64_t k = 0; k < in; ++k) {
        const double product = static_cast<double>(host.Row(f)[k]) *
                               static_cast<double>(x[static_cast<size_t>(row * in + k)]);
        sum += product;
        size += std::abs(product);
      }
      const auto got = static_cast<double>(all[static_cast<size_t>(row * out + f)]);
      close = close && std::abs(got - sum) <= kTolerance * size;
    }
  }
  Expect(close, name + ": wrong sums");
}

// All outputs of a step, against the products by wgmma: their sums have another order, which
// changes the rounding of some packed activations.
void CheckPlainLayer(Rig& rig, const ops::WeightFormat& format, int64_t rows) {
  if (!rig.gpu.wgmma()) return;
  constexpr int64_t kWidth = 520, kFfn = 1096, kQkv = 300;
  const DeviceWeight o(rig, {format, kWidth, kWidth, false, 41, rig.pool});
  const DeviceWeight gate_up(rig, {format, 2 * kFfn, kWidth, true, 42, rig.pool});
  const DeviceWeight down(rig, {format, kWidth, kFfn, false, 43, rig.pool});
  const DeviceWeight qkv(rig, {format, kQkv, kWidth, false, 44, rig.pool});
  Layer plain(rig, kWidth, kFfn, kQkv, rows), wgmma(rig, kWidth, kFfn, kQkv, rows);
  Must(LinearsPlain(rig.stream.get(), rig.gpu, rows,
                    plain.Steps(o.view, gate_up.view, down.view, qkv.view)));
  rig.Run(rows, wgmma.Steps(o.view, gate_up.view, down.view, qkv.view));
  const auto close = [&](const DeviceMemory& a, const DeviceMemory& b, int64_t count) {
    const auto x = Download<float>(rig, a.data(), count), y = Download<float>(rig, b.data(), count);
    double error = 0, size = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const auto expected = static_cast<double>(y[i]);
      error += (static_cast<double>(x[i]) - expected) * (static_cast<double>(x[i]) - expected);
      size += expected * expected;
    }
    return error <= 1e-6 * size;
  };
  const std::string what = Name(format) + " layer, " + std::to_string(rows) + " rows";
  Expect(close(plain.hidden, wgmma.hidden, rows * kWidth), what + ": hidden");
  Expect(close(plain.y, wgmma.y, rows * kQkv), what + ": qkv");
}

void Time(Rig& rig) {
  constexpr int64_t kWidth = 4096, kTokens = 16384;
  const double rate = ReadBandwidth(rig);
  const auto report = [&](const char* name, int64_t rows, double bytes_per_value,
                          const auto& launch) {
    const double seconds = SecondsPerLaunch(rig, [&](int) { Must(launch()); });
    std::printf("%-15s %5lld rows %8.2f us   floor %6.2f us\n", name, static_cast<long long>(rows),
                seconds * 1e6, static_cast<double>(rows * kWidth) * bytes_per_value / rate * 1e6);
  };
  const TimedWeight table(rig, Must(ops::ParseWeightFormat("bf16")), kTokens, kWidth, false,
                          RandomFloats(kTokens * kWidth, 1, 0, 61));
  const DeviceMemory norm = Upload(rig, RandomFloats(kWidth, 0.5f, 1, 62));
  for (const int64_t rows : {1, 32, 256, 1024, 1280}) {
    std::vector<int32_t> tokens, order;
    for (int64_t i = 0; i < rows; ++i) {
      tokens.push_back(static_cast<int32_t>(i * 7919 % kTokens));
      order.push_back(static_cast<int32_t>(i));
    }
    const DeviceMemory device_tokens = Upload(rig, tokens), device_order = Upload(rig, order);
    const DeviceMemory hidden = Upload(rig, RandomFloats(rows * kWidth, 1, 0, 63));
    const DeviceMemory packed = Allocate(rig, ActivationElements(PaddedRows(rows), kWidth) * 2);
    const DeviceMemory sums = Allocate(rig, kWidth / 64 * PaddedRows(rows) * 4);
    report("EmbedRows", rows, 2 + 4, [&] {
      return EmbedRows(rig.stream.get(), table.View(0), device_tokens.as<int32_t>(), rows,
                       hidden.as<float>());
    });
    report("NormPack", rows, 4 + 2, [&] {
      return NormPack(rig.stream.get(), {.rows = rows,
                                         .width = kWidth,
                                         .hidden = hidden.as<float>(),
                                         .norm_weight = norm.as<float>(),
                                         .packed = packed.as<BF16>(),
                                         .square_sums = sums.as<float>()});
    });
    report("GatherNormPack", rows, 4 + 2, [&] {
      return GatherNormPack(rig.stream.get(), device_order.as<int32_t>(), rows, kWidth,
                            hidden.as<float>(), norm.as<float>(), kEps, packed.as<BF16>());
    });
  }
}

int Main(std::string_view mode) {
  Rig rig;
  if (mode == "time") {
    Time(rig);
    return 0;
  }
  for (const int64_t width : {64, 100, 301, 4096}) {
    for (const int64_t rows : {1, 8, 13, 64, 65, 300}) CheckPacking(rig, rows, width);
  }
  for (const char* text : {"bf16", "fp8", "int8-g0", "int8-g32", "int8-g64", "int8-g256", "int4-g0",
                           "int4-g32", "int4-g64", "int4-g256", "int4-g32-asym", "int4-g64-asym"}) {
    const ops::WeightFormat format = Must(ops::ParseWeightFormat(text));
    const HostWeight host(format, 300, 1000, /*paired=*/false, 3, rig.pool);
    const DeviceWeight device(rig, host);
    CheckEmbedding(rig, host, device.view, text);
    CheckPlainProducts(rig, host, device.view, text);
    for (const int64_t rows : {1, 33, 129}) CheckPlainLayer(rig, format, rows);
  }
  std::printf("%s: %d failures\n", failures == 0 ? "PASS" : "FAIL", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tessera::cuda

int main(int argc, char** argv) {
  if (!tessera::cuda::HasGpu()) return tessera::cuda::kSkipped;
  return tessera::cuda::Main(argc > 1 ? argv[1] : "");
}
