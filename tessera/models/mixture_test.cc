// The mixture of experts against plain loops; how often weights are read; rows alone and together.
#include "tessera/models/mixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tessera/base/rng.h"
#include "tessera/models/testing.h"

namespace tessera::models {
namespace {

// Counts the products with each matrix.
class CountingDevice : public ReferenceDevice {
 public:
  Status Linear(const ops::LinearArgs& args) override {
    ++products[args.weight];
    return ReferenceDevice::Linear(args);
  }

  std::map<const ops::Matrix*, int> products;
};

constexpr int64_t kWidth = 6, kInner = 5;
constexpr int32_t kExperts = 4;

std::vector<float> Numbers(size_t count, uint64_t salt, float scale = 1) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    const double u = Uniform({.seed = salt}, RngPurpose::kTest, static_cast<uint32_t>(i));
    values[i] = scale * static_cast<float>(2 * u - 1);
  }
  return values;
}

std::unique_ptr<ops::Matrix> Pack(ops::Device& device, const std::vector<float>& values,
                                  int64_t out, int64_t in) {
  const TensorView view = {.data = reinterpret_cast<const std::byte*>(values.data()),
                           .dtype = DType::kF32,
                           .shape = {out, in}};
  auto matrix = device.Pack({.parts = {view}, .format = {.type = ops::WeightType::kF32}});
  TESSERA_CHECK(matrix.ok());
  return std::move(*matrix);
}

class MixtureTest : public testing::Test {
 protected:
  void SetUp() override {
    mixture_.spec = {.top_k = 2};
    mixture_.router = Pack(device_, Numbers(kExperts * kWidth, 1, 3), kExperts, kWidth);
    for (uint64_t e = 0; e < kExperts; ++e) {
      gate_up_.push_back(Numbers(2 * kInner * kWidth, 10 + e));
      down_.push_back(Numbers(kWidth * kInner, 20 + e));
      mixture_.experts.push_back({.gate_up = Pack(device_, gate_up_[e], 2 * kInner, kWidth),
                                  .down = Pack(device_, down_[e], kWidth, kInner)});
    }
  }

  // hidden + mixture(x)
  std::vector<float> Run(const std::vector<float>& x, std::vector<float> hidden) {
    EXPECT_TRUE(
        runner_.Run(mixture_, static_cast<int64_t>(x.size()) / kWidth, x.data(), hidden.data())
            .ok());
    return hidden;
  }

  std::vector<double> Expert(size_t expert, const float* x) const {
    std::vector<double> inner(kInner), out(kWidth);
    for (int64_t i = 0; i < kInner; ++i) {
      double gate = 0, up = 0;
      for (int64_t d = 0; d < kWidth; ++d) {
        gate += double{gate_up_[expert][i * kWidth + d]} * x[d];
        up += double{gate_up_[expert][(kInner + i) * kWidth + d]} * x[d];
      }
      inner[i] = gate / (1 + std::exp(-gate)) * up;
    }
    for (int64_t d = 0; d < kWidth; ++d) {
      for (int64_t i = 0; i < kInner; ++i) out[d] += down_[expert][d * kInner + i] * inner[i];
    }
    return out;
  }

  CountingDevice device_;
  Mixture mixture_;
  MixtureRunner runner_{device_};
  std::vector<std::vector<float>> gate_up_, down_;
};

TEST(GroupByExpert, OrdersByExpertThenRow) {
  const std::vector<int32_t> chosen = {1, 3, 0, 3, 1, 2, 1, 3};
  const std::vector<float> weights = {.1f, .2f, .3f, .4f, .5f, .6f, .7f, .8f};
  const ExpertGroups groups = GroupByExpert(chosen, weights, /*top_k=*/2, /*experts=*/5);
  EXPECT_EQ(groups.begin, (std::vector<int32_t>{0, 1, 4, 5, 8, 8}));
  EXPECT_EQ(groups.rows, (std::vector<int32_t>{1, 0, 2, 3, 2, 0, 1, 3}));
  EXPECT_EQ(groups.weights, (std::vector<float>{.3f, .1f, .5f, .7f, .6f, .2f, .4f, .8f}));
}

TEST_F(MixtureTest, IsTheWeightedSumOfItsExperts) {
  constexpr int64_t kRows = 9;
  const std::vector<float> x = Numbers(kRows * kWidth, 2), before = Numbers(kRows * kWidth, 3);
  const std::vector<float> after = Run(x, before);
  for (int64_t row = 0; row < kRows; ++row) {
    // The router by hand: softmax over all experts, the two largest.
    std::vector<float> logits(kExperts);
    ASSERT_TRUE(device_
                    .Linear({.rows = 1,
                             .x = &x[row * kWidth],
                             .weight = mixture_.router.get(),
                             .bias = nullptr,
                             .y = logits.data()})
                    .ok());
    double sum = 0;
    for (const float logit : logits) sum += std::exp(double{logit});
    std::vector<double> expected(kWidth);
    for (size_t e = 0; e < kExperts; ++e) {
      int better = 0;
      for (const float other : logits) better += other > logits[e];
      if (better >= 2) continue;
      const std::vector<double> out = Expert(e, &x[row * kWidth]);
      for (int64_t d = 0; d < kWidth; ++d) expected[d] += std::exp(logits[e]) / sum * out[d];
    }
    for (int64_t d = 0; d < kWidth; ++d) {
      EXPECT_NEAR(after[row * kWidth + d], before[row * kWidth + d] + expected[d], 1e-5);
    }
  }
}

TEST_F(MixtureTest, EachChosenExpertIsReadOnceAndNoOther) {
  const std::vector<float> one = Numbers(kWidth, 4);
  Run(one, one);
  int64_t bytes = 0;
  int read = 0;
  for (const FeedForward& expert : mixture_.experts) {
    const int count = device_.products[expert.gate_up.get()];
    EXPECT_EQ(count, device_.products[expert.down.get()]);
    EXPECT_LE(count, 1);
    read += count;
    bytes += count * expert.bytes();
  }
  EXPECT_EQ(read, 2);
  EXPECT_EQ(runner_.TakeBytesRead(), bytes);
  EXPECT_EQ(runner_.TakeBytesRead(), 0);

  device_.products.clear();
  const std::vector<float> many = Numbers(200 * kWidth, 5);
  Run(many, many);
  for (const FeedForward& expert : mixture_.experts) {
    EXPECT_EQ(device_.products[expert.gate_up.get()], 1);
    EXPECT_EQ(device_.products[expert.down.get()], 1);
  }
  EXPECT_EQ(device_.products[mixture_.router.get()], 1);
  EXPECT_EQ(runner_.TakeBytesRead(), kExperts * mixture_.experts.front().bytes());
}

// Rows are evaluated in rounds when there are many: here two between experts, and more inside the
// experts that have more rows than a round.
TEST_F(MixtureTest, ARowIsThatAloneWhateverItsMates) {
  for (const int64_t rows : {3, 900, 6000}) {
    const std::vector<float> x = Numbers(rows * kWidth, 6), before = Numbers(rows * kWidth, 7);
    const std::vector<float> together = Run(x, before);
    for (int64_t row = 0; row < rows; row += (rows - 1) / 2) {
      const auto at = [&](const std::vector<float>& values) {
        return std::vector<float>(values.begin() + row * kWidth,
                                  values.begin() + (row + 1) * kWidth);
      };
      EXPECT_EQ(Run(at(x), at(before)), at(together)) << rows << " rows, row " << row;
    }
  }
}

TEST_F(MixtureTest, NoRowsAreNoWork) {
  EXPECT_TRUE(runner_.Run(mixture_, 0, nullptr, nullptr).ok());
  EXPECT_TRUE(device_.products.empty());
}

}  // namespace
}  // namespace tessera::models
