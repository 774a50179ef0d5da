#include "tessera/quantize/gptq.h"

#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/formats/quantized_checkpoint.h"
#include "tessera/ops/ref/ref_device.h"
#include "tessera/quantize/rounding.h"
#include "tessera/quantize/testing.h"

namespace tessera::quantize {
namespace {

// Rows whose inputs depend on one another, as activations do.
std::vector<float> Rows(int64_t rows, int64_t width, uint64_t seed) {
  const int64_t sources = width / 3 + 1;
  const std::vector<float> mix = Normal(static_cast<size_t>(sources * width), seed);
  const std::vector<float> from = Normal(static_cast<size_t>(rows * sources), seed + 1);
  std::vector<float> x = Normal(static_cast<size_t>(rows * width), seed + 2);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < width; ++k) {
      float sum = 0.3f * x[static_cast<size_t>(r * width + k)];
      for (int64_t s = 0; s < sources; ++s) {
        sum += from[static_cast<size_t>(r * sources + s)] * mix[static_cast<size_t>(s * width + k)];
      }
      x[static_cast<size_t>(r * width + k)] = sum;
    }
  }
  return x;
}

struct Calibrated {
  std::unique_ptr<ops::Device> device = ops::ref::MakeRefDevice();
  std::unique_ptr<Hessian> hessian;
  std::vector<float> importance;

  Calibrated(std::span<const float> x, int64_t width) {
    hessian =
        std::make_unique<Hessian>(width, ops::WeightFormat{.type = ops::WeightType::kF32}, *device);
    EXPECT_TRUE(hessian->Add(static_cast<int64_t>(x.size()) / width, x.data()).ok());
    EXPECT_TRUE(hessian->Finish().ok());
    importance = hessian->Diagonal();
  }
};

TEST(Hessian, IsTheProductOfTheRows) {
  const int64_t width = 40, rows = 1500;  // more than one flush, the second one not whole
  const std::vector<float> x = Rows(rows, width, 1);
  const Calibrated calibrated(x, width);
  EXPECT_EQ(calibrated.hessian->rows(), rows);
  const Eigen::Map<const Eigen::Matrix<float, -1, -1, Eigen::RowMajor>> map(x.data(), rows, width);
  const Eigen::MatrixXd exact = map.cast<double>().transpose() * map.cast<double>();
  for (int64_t i = 0; i < width; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      EXPECT_NEAR(calibrated.hessian->values()[i * width + j], exact(i, j), 1e-5 * exact.norm());
      EXPECT_EQ(calibrated.hessian->values()[i * width + j],
                calibrated.hessian->values()[j * width + i]);
    }
  }
}

TEST(OutputErrors, AreThoseOfTheRows) {
  const int64_t width = 24, rows = 60, out = 70;
  const std::vector<float> x = Rows(rows, width, 2);
  const std::vector<float> errors = Normal(static_cast<size_t>(out * width), 3);
  const Calibrated calibrated(x, width);
  ThreadPool pool(2);
  const std::vector<double> got = OutputErrors(errors, *calibrated.hessian, pool);
  for (int64_t o = 0; o < out; ++o) {
    double exact = 0;
    for (int64_t r = 0; r < rows; ++r) {
      double y = 0;
      for (int64_t k = 0; k < width; ++k) {
        y += static_cast<double>(errors[static_cast<size_t>(o * width + k)]) *
             x[static_cast<size_t>(r * width + k)];
      }
      exact += y * y;
    }
    EXPECT_NEAR(got[static_cast<size_t>(o)], exact, 1e-4 * exact);
  }
}

// Algorithm 1 of the paper word by word, in double: the inverse of H, its upper Cholesky factor,
// and after each input the update of all later ones.
std::vector<uint8_t> PaperCodes(std::span<const float> weights, const Hessian& hessian,
                                double damping, const std::vector<Grid>& grids, int64_t group) {
  const int64_t n = hessian.width(), out = static_cast<int64_t>(weights.size()) / n;
  Eigen::MatrixXd h(n, n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) h(i, j) = hessian.values()[i * n + j];
  }
  h.diagonal().array() += damping * h.diagonal().mean();
  const Eigen::MatrixXd inverse = h.inverse();
  const Eigen::MatrixXd upper = inverse.llt().matrixU();
  std::vector<uint8_t> codes(weights.size());
  for (int64_t row = 0; row < out; ++row) {
    std::vector<double> w(weights.begin() + row * n, weights.begin() + (row + 1) * n);
    for (int64_t j = 0; j < n; ++j) {
      const Grid& grid = grids[static_cast<size_t>(row * ((n + group - 1) / group) + j / group)];
      const uint8_t code = grid.Code(static_cast<float>(w[static_cast<size_t>(j)]));
      codes[static_cast<size_t>(row * n + j)] = code;
      const double error = (w[static_cast<size_t>(j)] - grid.Value(code)) / upper(j, j);
      for (int64_t k = j; k < n; ++k) w[static_cast<size_t>(k)] -= error * upper(j, k);
    }
  }
  return codes;
}

TEST(Gptq, EqualsThePapersAlgorithm) {
  ThreadPool pool(2);
  const int64_t width = 150, out = 40;  // more than one block of inputs and of rows
  const Calibrated calibrated(Rows(600, width, 4), width);
  const std::vector<float> weights = Normal(static_cast<size_t>(out * width), 5);
  for (const int32_t bits : {4, 8}) {
    const QuantizedLayout layout{.bits = bits, .group = 0, .symmetric = true};
    const auto factor = GptqFactor::Make(*calibrated.hessian, {.damping = 0.01});
    ASSERT_TRUE(factor.ok()) << factor.status().message();
    EXPECT_EQ(factor->damping(), 0.01);
    const auto encoded = Gptq(weights, *factor, calibrated.importance, layout, pool);
    std::vector<Grid> grids;
    for (int64_t row = 0; row < out; ++row) {
      grids.push_back(FitGrid(
          std::span(weights).subspan(static_cast<size_t>(row * width), static_cast<size_t>(width)),
          calibrated.importance, layout));
    }
    const std::vector<uint8_t> expected =
        PaperCodes(weights, *calibrated.hessian, 0.01, grids, width);
    int64_t different = 0;
    std::vector<uint8_t> codes(static_cast<size_t>(width));
    std::vector<float> scale(1), min(1);
    for (int64_t row = 0; row < out; ++row) {
      encoded->ReadRow(row, codes.data(), scale.data(), min.data());
      EXPECT_EQ(scale[0], grids[static_cast<size_t>(row)].scale);
      // A tie that f32 breaks the other way changes the rest of its row; that is rare.
      different += !std::equal(codes.begin(), codes.end(), expected.begin() + row * width);
    }
    EXPECT_LE(different, bits == 4 ? 1 : 6) << bits;
  }
}

double OutputError(std::span<const float> weights, const EncodedMatrix& encoded,
                   const Hessian& hessian, ThreadPool& pool) {
  std::vector<float> errors(weights.size());
  const size_t in = static_cast<size_t>(encoded.shape()[1]);
  for (int64_t row = 0; row < encoded.shape()[0]; ++row) {
    encoded.Dequantize(row, std::span(errors).subspan(static_cast<size_t>(row) * in, in));
  }
  for (size_t i = 0; i < errors.size(); ++i) errors[i] = weights[i] - errors[i];
  const std::vector<double> squares = OutputErrors(errors, hessian, pool);
  return std::accumulate(squares.begin(), squares.end(), 0.0);
}

TEST(Gptq, HalvesTheOutputErrorOfDependentInputs) {
  ThreadPool pool(2);
  const int64_t width = 200, out = 33;
  const Calibrated calibrated(Rows(800, width, 6), width);
  const std::vector<float> weights = Normal(static_cast<size_t>(out * width), 7);
  for (const QuantizedLayout& layout : EveryLayout()) {
    const double nearest =
        OutputError(weights, *RoundToNearest(weights, width, calibrated.importance, layout, pool),
                    *calibrated.hessian, pool);
    for (const InputOrder order : {InputOrder::kAsStored, InputOrder::kByActivation}) {
      const auto factor = GptqFactor::Make(*calibrated.hessian, {.order = order});
      ASSERT_TRUE(factor.ok());
      const double error =
          OutputError(weights, *Gptq(weights, *factor, calibrated.importance, layout, pool),
                      *calibrated.hessian, pool);
      EXPECT_LT(error, 0.5 * nearest) << LayoutName(layout);
    }
  }
}

// With independent inputs of one size there is nothing to compensate.
TEST(Gptq, IsRoundingToNearestUnderADiagonal) {
  ThreadPool pool(1);
  const int64_t width = 96;
  std::vector<float> x(static_cast<size_t>(width * width));
  for (int64_t k = 0; k < width; ++k) x[static_cast<size_t>(k * width + k)] = 2;
  const Calibrated calibrated(x, width);
  const std::vector<float> weights = Normal(static_cast<size_t>(5 * width), 8);
  const auto factor = GptqFactor::Make(*calibrated.hessian, {});
  ASSERT_TRUE(factor.ok());
  for (const QuantizedLayout& layout : EveryLayout()) {
    const auto a = Gptq(weights, *factor, calibrated.importance, layout, pool);
    const auto b = RoundToNearest(weights, width, calibrated.importance, layout, pool);
    EXPECT_TRUE(std::ranges::equal(a->codes(), b->codes())) << LayoutName(layout);
    EXPECT_EQ(a->Scales(), b->Scales()) << LayoutName(layout);
  }
}

// Fewer rows than inputs, an input that never fires, and none at all.
TEST(GptqFactor, PoorHessians) {
  const int64_t width = 64;
  std::vector<float> x = Rows(10, width, 9);
  for (int64_t row = 0; row < 10; ++row) x[static_cast<size_t>(row * width + 3)] = 0;
  EXPECT_TRUE(GptqFactor::Make(*Calibrated(x, width).hessian, {}).ok());
  const auto undamped = GptqFactor::Make(*Calibrated(x, width).hessian, {.damping = 0});
  ASSERT_TRUE(undamped.ok()) << undamped.status().message();
  EXPECT_GT(undamped->damping(), 0);  // it had to be raised
  const std::vector<float> zeros(static_cast<size_t>(10 * width));
  EXPECT_FALSE(GptqFactor::Make(*Calibrated(zeros, width).hessian, {}).ok());
}

}  // namespace
}  // namespace tessera::quantize
