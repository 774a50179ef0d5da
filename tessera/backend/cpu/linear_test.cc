// One case table over a double-precision reference and every level this machine runs; AMX also runs
// on a software model of its instructions, so it is covered on every machine.
#include "tessera/backend/cpu/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tessera/backend/cpu/amx/linear_tile_model.h"
#include "tessera/ops/weight_rounding.h"

namespace tessera::cpu {
namespace {

using ops::WeightFormat;
using ops::WeightType;

using ops::IsInteger;

std::string FormatName(const WeightFormat& format) {
  const char* names[] = {"F32", "BF16", "F8", "Int8", "Int4"};
  std::string name = names[static_cast<int>(format.type)];
  if (IsInteger(format.type)) name += fmt::format("Group{}", format.group);
  return name + (format.symmetric ? "" : "Asymmetric");
}

constexpr float kPoison = -12345.5f;  // outputs before a call; no case produces it
constexpr int64_t kMaxRows = 257;
constexpr int64_t kRowCounts[] = {0, 1, 2, 3, 4, 5, 12, 13, 32, 33, 64, kMaxRows};

// The levels of this machine, and the AMX kernel on the tile model.
std::vector<LinearKernels> AllKernels() {
  std::vector<LinearKernels> all;
  for (const Isa isa : AvailableIsas()) all.push_back(GetLinearKernels(isa));
  all.push_back({.name = "amx-model",
                 .f32 = generic::kLinearF32,
                 .bf16 = TileKernel<TileModel>("amx-model"),
                 .int8 = QuantTileKernel<TileModel, 8>("amx-model"),
                 .int4 = QuantTileKernel<TileModel, 4>("amx-model")});
  return all;
}

// Values in [-1, 1), the same for the same seed.
std::vector<float> Values(int64_t count, uint32_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    seed = seed * 1664525 + 1013904223;
    value = static_cast<float>(static_cast<int32_t>(seed)) * 0x1p-31f;
  }
  return values;
}

float AsStored(float value, const WeightFormat& format) {
  return format.type == WeightType::kBF16 ? FloatFromBF16(BF16FromFloat(value)) : value;
}

ops::MatrixPart PartOf(const std::vector<float>& weights, int64_t out, int64_t in) {
  return TensorView{reinterpret_cast<const std::byte*>(weights.data()), DType::kF32, {out, in}};
}

std::unique_ptr<PackedMatrix> Pack(const std::vector<float>& weights, int64_t out, int64_t in,
                                   const WeightFormat& format, ThreadPool& pool) {
  return *PackMatrix({.parts = {PartOf(weights, out, in)}, .format = format}, pool);
}

struct Problem {
  WeightFormat format;
  int64_t in;
  int64_t out;
  std::vector<float> x;        // [kMaxRows, in]
  std::vector<float> weights;  // [out, in]
  std::vector<double> sums;    // [kMaxRows, out], exact up to double rounding
  std::vector<double> bounds;  // how far an f32 sum in any order may be from it
};

Problem MakeProblem(const WeightFormat& format, int64_t in, int64_t out) {
  Problem p = {format, in, out, Values(kMaxRows * in, 1), Values(out * in, 2), {}, {}};
  return p;
}

// Activations as the kernels multiply them: for integer weights every row is rounded to 255 levels
// between the largest magnitudes of each segment, and one value that is not finite spoils them all.
std::vector<float> MultipliedActivations(const Problem& p) {
  std::vector<float> x = p.x;
  for (float& value : x) value = AsStored(value, p.format);
  if (!IsInteger(p.format.type)) return x;
  const int64_t segment = ops::SegmentOf(p.format);
  for (int64_t r = 0; r < kMaxRows; ++r) {
    for (int64_t begin = 0; begin < p.in; begin += segment) {
      const int64_t end = std::min(p.in, begin + segment);
      float largest = 0;
      bool finite = true;
      for (int64_t k = begin; k < end; ++k) {
        largest = std::max(largest, std::abs(x[r * p.in + k]));
        finite = finite && std::isfinite(x[r * p.in + k]);
      }
      for (int64_t k = begin; k < end; ++k) {
        float& value = x[r * p.in + k];
        value = !finite       ? std::nanf("")
                : largest > 0 ? std::nearbyint(value * (127 / largest)) * (largest / 127)
                              : 0.0f;
      }
    }
  }
  return x;
}

// Weights as stored: the reference's reading of the same format.
std::vector<float> StoredWeights(const Problem& p) {
  std::vector<float> w = p.weights;
  for (float& value : w) value = AsStored(value, p.format);
  if (!IsInteger(p.format.type)) return w;
  const ops::MatrixPart part = PartOf(p.weights, p.out, p.in);
  ops::RowReader reader(p.format, p.in);
  for (int64_t o = 0; o < p.out; ++o) {
    const ops::CodedRow& row = reader.ReadCodes(part, o);
    for (int64_t k = 0; k < p.in; ++k) {
      w[o * p.in + k] = ops::DecodeInput(row, p.format, k);
    }
  }
  return w;
}

// Rounding errors of n fused or separate f32 operations: n * 2^-24 of the sum of magnitudes
// (Higham, Accuracy and Stability, 3.1), twice that for separate multiply and add; and flushed
// denormals.
void AddReference(Problem* p) {
  p->sums.assign(kMaxRows * p->out, 0);
  p->bounds.assign(kMaxRows * p->out, 0);
  const std::vector<float> x = MultipliedActivations(*p), w = StoredWeights(*p);
  for (int64_t r = 0; r < kMaxRows; ++r) {
    for (int64_t o = 0; o < p->out; ++o) {
      double sum = 0, magnitude = 0;
      for (int64_t k = 0; k < p->in; ++k) {
        const double product = static_cast<double>(x[r * p->in + k]) * w[o * p->in + k];
        sum += product;
        magnitude += std::abs(product);
      }
      p->sums[r * p->out + o] = sum;
      p->bounds[r * p->out + o] = static_cast<double>(p->in + 2) * 0x1p-23 * magnitude + 1e-36;
    }
  }
}

bool Same(double value, double expected, double bound) {
  if (std::isnan(expected)) return std::isnan(value);
  if (std::isinf(expected)) return value == expected;
  return std::abs(value - expected) <= bound;  // false for NaN
}

// Index of the first element that is wrong, or -1.
int64_t FirstWrong(const std::vector<float>& y, const Problem& p, int64_t rows) {
  for (int64_t i = 0; i < rows * p.out; ++i) {
    if (!Same(y[i], p.sums[i], p.bounds[i])) return i;
  }
  return -1;
}

bool SameBits(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

// Runs rows [first, first + rows) of the problem with x and y one float off any alignment, and
// checks that nothing around y is written.
std::vector<float> RunRows(const Problem& p, const PackedMatrix& weight,
                           const LinearKernels& kernels, ThreadPool& pool, int64_t rows,
                           int64_t first = 0) {
  constexpr int64_t kGuard = 33;
  std::vector<float> x(static_cast<size_t>(rows * p.in + 1));
  std::copy_n(p.x.begin() + first * p.in, rows * p.in, x.begin() + 1);
  std::vector<float> y(static_cast<size_t>(rows * p.out + 2 * kGuard), kPoison);
  Scratch scratch;
  Linear(
      {.rows = rows, .x = x.data() + 1, .weight = &weight, .bias = nullptr, .y = y.data() + kGuard},
      kernels, pool, scratch);
  for (int64_t i = 0; i < kGuard; ++i) {
    EXPECT_EQ(y[i], kPoison);
    EXPECT_EQ(y[y.size() - 1 - i], kPoison);
  }
  return {y.begin() + kGuard, y.end() - kGuard};
}

std::string Describe(const Problem& p, const LinearKernels& kernels) {
  return fmt::format("{} {} out {} in {}", kernels.name, FormatName(p.format), p.out, p.in);
}

void ExpectFirstRows(const std::vector<float>& y, const std::vector<float>& all, int64_t first,
                     int64_t width, const std::string& what) {
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_TRUE(SameBits(y[i], all[first * width + static_cast<int64_t>(i)]))
        << what << " at " << i;
  }
}

class LinearCases : public testing::TestWithParam<WeightFormat> {};

// Every size against the reference at kMaxRows rows; every smaller count bit for bit against that.
TEST_P(LinearCases, MatchesReferenceAndIgnoresOtherRows) {
  ThreadPool pool(2);
  struct Size {
    int64_t in, out;
  };
  std::vector<Size> sizes = {{1030, 33}, {448, 16}, {2100, 18}, {256, 64}, {512, 32}};
  for (int64_t in = 1; in <= 130; in += 2) sizes.push_back({in, 1 + in % 37});
  for (const int64_t out : {1, 15, 16, 17, 31, 33, 48, 70}) sizes.push_back({67, out});
  for (const Size size : sizes) {
    Problem p = MakeProblem(GetParam(), size.in, size.out);
    AddReference(&p);
    const auto weight = Pack(p.weights, p.out, p.in, p.format, pool);
    for (const LinearKernels& kernels : AllKernels()) {
      const std::string what = Describe(p, kernels);
      const std::vector<float> all = RunRows(p, *weight, kernels, pool, kMaxRows);
      const int64_t wrong = FirstWrong(all, p, kMaxRows);
      ASSERT_EQ(wrong, -1) << what << ": " << all[wrong] << " instead of " << p.sums[wrong];
      for (const int64_t rows : kRowCounts) {
        ExpectFirstRows(RunRows(p, *weight, kernels, pool, rows), all, 0, p.out,
                        fmt::format("{} rows {}", what, rows));
        if (HasFatalFailure()) return;
      }
      ExpectFirstRows(RunRows(p, *weight, kernels, pool, 5, 100), all, 100, p.out,
                      what + " shifted");
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(LinearCases, ComparatorCanFail) {
  ThreadPool pool(1);
  Problem p = MakeProblem(GetParam(), 67, 20);
  AddReference(&p);
  const int64_t element = 3 * p.in + 5;
  p.weights[element] += 0.5f;
  const auto weight = Pack(p.weights, p.out, p.in, p.format, pool);
  const std::vector<float> y = RunRows(p, *weight, GetLinearKernels(Isa::kGeneric), pool, 2);
  EXPECT_EQ(FirstWrong(y, p, 2), 3);
  EXPECT_FALSE(Same(std::nan(""), 0, 1e30));
  EXPECT_FALSE(Same(0, std::nan(""), 1e30));
  EXPECT_FALSE(Same(1e30, std::numeric_limits<double>::infinity(), 1e30));
}

TEST_P(LinearCases, ThreadCountDoesNotChangeBits) {
  ThreadPool one(1);
  const Problem p = MakeProblem(GetParam(), 300, 530);
  const auto weight = Pack(p.weights, p.out, p.in, p.format, one);
  for (const LinearKernels& kernels : AllKernels()) {
    for (const int64_t rows : {1, 40}) {
      const std::vector<float> expected = RunRows(p, *weight, kernels, one, rows);
      for (const int threads : {2, 3, 7}) {
        ThreadPool pool(threads);
        ExpectFirstRows(RunRows(p, *weight, kernels, pool, rows), expected, 0, p.out,
                        fmt::format("{} rows {} threads {}", Describe(p, kernels), rows, threads));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(LinearCases, BiasAndAccumulateAddAfterTheSum) {
  ThreadPool pool(2);
  const Problem p = MakeProblem(GetParam(), 70, 45);
  const auto weight = Pack(p.weights, p.out, p.in, p.format, pool);
  const std::vector<float> bias = Values(p.out, 3);
  for (const LinearKernels& kernels : AllKernels()) {
    for (const int64_t rows : {1, 17}) {
      const std::vector<float> sums = RunRows(p, *weight, kernels, pool, rows);
      const std::vector<float> old = Values(rows * p.out, 4);
      for (const bool with_bias : {false, true}) {
        for (const bool accumulate : {false, true}) {
          std::vector<float> y = old;
          Scratch scratch;
          Linear({.rows = rows,
                  .x = p.x.data(),
                  .weight = weight.get(),
                  .bias = with_bias ? bias.data() : nullptr,
                  .y = y.data(),
                  .accumulate = accumulate},
                 kernels, pool, scratch);
          for (int64_t i = 0; i < rows * p.out; ++i) {
            const float sum = with_bias ? sums[i] + bias[i % p.out] : sums[i];
            ASSERT_TRUE(SameBits(y[i], accumulate ? old[i] + sum : sum))
                << Describe(p, kernels) << " at " << i;
          }
        }
      }
    }
  }
}

TEST_P(LinearCases, NonFiniteValuesReachExactlyTheirRowAndColumn) {
  ThreadPool pool(2);
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t in : {33, 130}) {
    Problem p = MakeProblem(GetParam(), in, 37);
    p.x[1 * in + in - 1] = kNan;
    p.x[4 * in] = kInf;
    p.x[5 * in + 1] = -kInf;
    p.x[6 * in + 1] = kInf;  // both signs: NaN wherever the weights have equal signs
    p.x[6 * in + 2] = -kInf;
    p.x[20 * in + 32] = std::bit_cast<float>(0x7f800001u);  // NaN whose upper half looks infinite
    p.weights[35 * in + 3] = kNan;
    p.weights[36 * in + 3] = -kInf;
    p.weights[2 * in + 1] = 0;  // 0 * infinity
    AddReference(&p);
    const auto weight = Pack(p.weights, p.out, p.in, p.format, pool);
    for (const LinearKernels& kernels : AllKernels()) {
      for (const int64_t rows : {1, 7, 33}) {
        const std::vector<float> y = RunRows(p, *weight, kernels, pool, rows);
        const int64_t wrong = FirstWrong(y, p, rows);
        ASSERT_EQ(wrong, -1) << Describe(p, kernels) << " row " << wrong / p.out << " column "
                             << wrong % p.out << ": " << y[wrong] << " instead of "
                             << p.sums[wrong];
      }
    }
  }
}

TEST_P(LinearCases, PanelRangesGiveTheSameBits) {
  ThreadPool pool(2);
  const Problem p = MakeProblem(GetParam(), 100, 16 * 6 + 5);
  const auto weight = Pack(p.weights, p.out, p.in, p.format, pool);
  constexpr int64_t kStride = 16 * 7;
  for (const LinearKernels& kernels : AllKernels()) {
    for (const int64_t rows : {1, 30}) {
      const std::vector<float> all = RunRows(p, *weight, kernels, pool, rows);
      Scratch scratch;
      const PackedRows x = PackRows(p.x.data(), rows, *weight, kernels, pool, scratch);
      for (int64_t begin = 0; begin <= weight->num_panels(); ++begin) {
        for (int64_t end = begin; end <= weight->num_panels(); ++end) {
          std::vector<float> y(static_cast<size_t>(rows * kStride), kPoison);
          LinearPanels(x, *weight, begin, end, y.data(), kStride);
          const int64_t width = std::min(end * kPanel, p.out) - begin * kPanel;
          for (int64_t i = 0; i < rows * kStride; ++i) {
            const int64_t row = i / kStride, column = i % kStride;
            const float expected =
                column < width ? all[row * p.out + begin * kPanel + column] : kPoison;
            ASSERT_TRUE(SameBits(y[i], expected))
                << Describe(p, kernels) << " panels " << begin << " to " << end << " at " << i;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, LinearCases,
    testing::Values(
        WeightFormat{WeightType::kF32, 0, true}, WeightFormat{WeightType::kBF16, 0, true},
        WeightFormat{WeightType::kInt8, 0, true}, WeightFormat{WeightType::kInt8, 64, true},
        WeightFormat{WeightType::kInt8, 32, true}, WeightFormat{WeightType::kInt8, 128, true},
        WeightFormat{WeightType::kInt4, 0, true}, WeightFormat{WeightType::kInt4, 32, true},
        WeightFormat{WeightType::kInt4, 64, true}, WeightFormat{WeightType::kInt4, 128, true},
        WeightFormat{WeightType::kInt4, 32, false}, WeightFormat{WeightType::kInt4, 128, false}),
    [](const auto& param) { return FormatName(param.param); });

// Integer products are exact and every kernel scales them by the same fused operations, so levels
// with fused multiply-add agree bit for bit: few rows and many may use different kernels.
TEST(LinearKernelsTest, IntegerKernelsAgreeBitForBit) {
  ThreadPool pool(2);
  for (const WeightFormat& format :
       {WeightFormat{WeightType::kInt8, 0, true}, WeightFormat{WeightType::kInt8, 32, true},
        WeightFormat{WeightType::kInt4, 32, true}, WeightFormat{WeightType::kInt4, 64, false}}) {
    const Problem p = MakeProblem(format, 700, 50);
    const auto weight = Pack(p.weights, p.out, p.in, p.format, pool);
    std::vector<float> expected;
    for (const LinearKernels& kernels : AllKernels()) {
      if (std::string(kernels.name) == "generic") continue;
      const std::vector<float> y = RunRows(p, *weight, kernels, pool, 40);
      if (expected.empty()) expected = y;
      ExpectFirstRows(y, expected, 0, p.out, Describe(p, kernels));
      if (HasFatalFailure()) return;
    }
    EXPECT_FALSE(expected.empty());
  }
}

TEST(LinearKernelsTest, AForcedLevelRunsItsOwnCode) {
  for (const Isa isa : AvailableIsas()) {
    const LinearKernels& kernels = GetLinearKernels(isa);
    EXPECT_EQ(kernels.name, Name(isa));
    // Levels above AVX-512 add instructions for bf16 and integers only.
    EXPECT_EQ(kernels.f32.isa, Name(std::min(isa, Isa::kAvx512)));
    EXPECT_EQ(kernels.bf16.isa, Name(isa == Isa::kAvx512Vnni ? Isa::kAvx512 : isa));
    const Isa integers = isa == Isa::kAvx512       ? Isa::kAvx2
                         : isa == Isa::kAvx512Bf16 ? Isa::kAvx512Vnni
                                                   : isa;
    EXPECT_EQ(kernels.int8.isa, Name(integers));
    EXPECT_EQ(kernels.int4.isa, Name(integers));
    for (const Isa other : AvailableIsas()) {
      const LinearKernels& others = GetLinearKernels(other);
      EXPECT_EQ(kernels.bf16.panels == others.bf16.panels,
                std::string(kernels.bf16.isa) == others.bf16.isa);
      EXPECT_EQ(kernels.int4.panels == others.int4.panels,
                std::string(kernels.int4.isa) == others.int4.isa);
    }
  }
}

// Activations are rounded to nearest even: 1 + 2^-8 lies half way between two bf16 numbers.
TEST(LinearKernelsTest, ActivationsAreRoundedToNearestEven) {
  ThreadPool pool(1);
  const std::vector<float> one = {1.0f};
  const auto weight = Pack(one, 1, 1, {WeightType::kBF16, 0, true}, pool);
  for (const LinearKernels& kernels : AllKernels()) {
    for (const auto& [x, rounded] : std::vector<std::pair<float, float>>{
             {1 + 0x1p-8f, 1.0f}, {1 + 0x3p-8f, 1 + 0x1p-6f}, {1 + 0x1.01p-8f, 1 + 0x1p-7f}}) {
      float y = kPoison;
      Scratch scratch;
      Linear({.rows = 1, .x = &x, .weight = weight.get(), .bias = nullptr, .y = &y}, kernels, pool,
             scratch);
      EXPECT_EQ(y, rounded) << kernels.name;
    }
  }
}

// The model itself, on one product tile with hand-worked numbers.
TEST(TileModelTest, DotProductSumsEvenAndOddApartAndFlushesDenormals) {
  TileConfig config = {};
  config.palette = 1;
  for (int tile = 0; tile < 3; ++tile) {
    config.rows[tile] = tile == 2 ? 2 : 1;           // A is 1 x 2 pairs, B 2 pairs x 1
    config.bytes_per_row[tile] = tile == 1 ? 8 : 4;  // sum: 1 x 1
  }
  TileModel::Configure(config);
  const auto run = [](std::vector<float> a, std::vector<float> b, float sum) {
    uint16_t a_bits[4], b_bits[4];
    for (int i = 0; i < 4; ++i) {
      a_bits[i] = BF16FromFloat(a[i]);
      b_bits[i] = BF16FromFloat(b[i]);
    }
    TileModel::Load<0>(&sum, 4);
    TileModel::Load<1>(a_bits, 8);
    TileModel::Load<2>(b_bits, 4);
    TileModel::DotBf16<0, 1, 2>();
    TileModel::Store<0>(&sum, 4);
    return sum;
  };
  EXPECT_EQ(run({1, 2, 3, 4}, {5, 6, 7, 8}, 100), 100 + 5 + 12 + 21 + 32);
  // Even inputs: 2^24 + 1 -> 2^24 (ties to even); odd: 1. In one chain 2^24 + 1 + 1 is 2^24 too,
  // but with the odd sum 2 the difference shows: 2^24 + (1 + 1).
  EXPECT_EQ(run({0x1p24f, 1, 1, 1}, {1, 1, 1, 1}, 0), 0x1p24f + 2);
  EXPECT_EQ(run({0x1p-127f, 0, 0, 0}, {0x1p100f, 0, 0, 0}, 0), 0);  // denormal input
  EXPECT_EQ(run({0x1p-100f, 0, 0, 0}, {0x1p-30f, 0, 0, 0}, 0), 0);  // denormal result
  TileModel::Release();
  EXPECT_DEATH(TileModel::Zero<0>(), "internal error");
}

}  // namespace
}  // namespace tessera::cpu
