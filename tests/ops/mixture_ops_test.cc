// Route and AddRows against the reference, by hand-worked numbers, and row by row.
#include <cmath>
#include <set>

#include "tests/ops/harness.h"

namespace tessera::ops_test {
namespace {

using ops::RouterScore;
using ops::RouterSpec;

struct Routing {
  std::vector<int32_t> chosen;
  std::vector<float> weights;
};

class MixtureOps : public testing::TestWithParam<Target> {
 protected:
  Routing Route(ops::Device& device, const RouterSpec& spec, int32_t experts,
                const std::vector<float>& logits, const std::vector<float>& bias = {},
                size_t misalign = 0) {
    const size_t rows = logits.size() / static_cast<size_t>(experts);
    const size_t pairs = rows * static_cast<size_t>(spec.top_k);
    Floats in(logits, misalign), offsets(bias, misalign), weights(pairs, misalign);
    Routing routing{.chosen = std::vector<int32_t>(pairs, -1), .weights = {}};
    EXPECT_TRUE(device
                    .Route({.rows = static_cast<int64_t>(rows),
                            .experts = experts,
                            .spec = spec,
                            .logits = in.data(),
                            .bias = bias.empty() ? nullptr : offsets.data(),
                            .chosen = routing.chosen,
                            .weights = {weights.data(), pairs}})
                    .ok());
    EXPECT_TRUE(weights.GuardsIntact());
    routing.weights = weights.values();
    return routing;
  }
  Routing Route(const RouterSpec& spec, int32_t experts, const std::vector<float>& logits,
                const std::vector<float>& bias = {}) {
    return Route(*device_, spec, experts, logits, bias);
  }

  std::unique_ptr<ops::Device> device_ = Make(GetParam());
  std::unique_ptr<ops::Device> ref_ = MakeRef();
};

const RouterSpec kSpecs[] = {
    {.top_k = 1},
    {.top_k = 2},
    {.top_k = 3, .normalise = true},
    {.score = RouterScore::kSigmoid, .top_k = 2, .normalise = true, .scale = 2.5f},
    {.score = RouterScore::kSigmoid, .top_k = 3, .groups = 4, .top_groups = 2, .scale = 0.5f},
    {.top_k = 4, .groups = 2, .top_groups = 1, .normalise = true},
};

TEST_P(MixtureOps, RouteIsTheReferences) {
  for (const RouterSpec& spec : kSpecs) {
    for (const int32_t experts : {8, 20, 256}) {
      for (const int32_t rows : {0, 1, 3, 65}) {
        for (const bool biased : {false, true}) {
          const std::vector<float> logits = Normals(static_cast<size_t>(rows) * experts, 1, 2);
          const std::vector<float> bias =
              biased ? Normals(static_cast<size_t>(experts), 2, 0.1f) : std::vector<float>();
          const Routing expected = Route(*ref_, spec, experts, logits, bias);
          const Routing actual = Route(*device_, spec, experts, logits, bias, /*misalign=*/1);
          EXPECT_EQ(actual.chosen, expected.chosen) << experts << " experts, " << rows << " rows";
          EXPECT_TRUE(Near(expected.weights, actual.weights, kF32));
        }
      }
    }
  }
}

TEST_P(MixtureOps, SoftmaxWeightsAreProbabilitiesOfAllExperts) {
  const float logits[] = {std::log(1.0f), std::log(4.0f), std::log(2.0f), std::log(3.0f)};
  const std::vector<float> row(logits, logits + 4);
  const Routing plain = Route({.top_k = 2}, 4, row);
  EXPECT_EQ(plain.chosen, (std::vector<int32_t>{1, 3}));
  EXPECT_NEAR(plain.weights[0], 0.4, 1e-6);
  EXPECT_NEAR(plain.weights[1], 0.3, 1e-6);
  const Routing shared = Route({.top_k = 2, .normalise = true, .scale = 7}, 4, row);
  EXPECT_NEAR(shared.weights[0], 4, 1e-5);
  EXPECT_NEAR(shared.weights[1], 3, 1e-5);
}

// LLaDA2: the bias decides who is chosen, the plain sigmoid how much it counts.
TEST_P(MixtureOps, BiasChoosesAndDoesNotWeigh) {
  const RouterSpec spec = {.score = RouterScore::kSigmoid, .top_k = 2};
  const Routing routing = Route(spec, 4, {0, 1, 2, 3}, {0.9f, 0, 0, -0.9f});
  EXPECT_EQ(routing.chosen, (std::vector<int32_t>{0, 2}));
  EXPECT_NEAR(routing.weights[0], 0.5, 1e-6);
  EXPECT_NEAR(routing.weights[1], 1 / (1 + std::exp(-2.0)), 1e-6);
}

TEST_P(MixtureOps, GroupsCompeteByTheirTwoBest) {
  const RouterSpec spec = {
      .score = RouterScore::kSigmoid, .top_k = 2, .groups = 3, .top_groups = 1};
  // The best expert is alone in its group; the second group has the best pair.
  EXPECT_EQ(Route(spec, 9, {5, -5, -5, 2, 3, -5, 2, 2, 2}).chosen, (std::vector<int32_t>{3, 4}));
  // top_k counts experts of all chosen groups together.
  const RouterSpec two = {.score = RouterScore::kSigmoid, .top_k = 3, .groups = 3, .top_groups = 2};
  EXPECT_EQ(Route(two, 9, {5, -5, -5, 2, 3, -5, 2, 2.5f, 2}).chosen,
            (std::vector<int32_t>{3, 4, 7}));
}

// Oracle 10, at LLaDA2's own shape: 8 of 256 experts from 4 of 8 groups, weights that sum to 2.5.
TEST_P(MixtureOps, Llada2WeightsSumToTheirScale) {
  const RouterSpec spec = {.score = RouterScore::kSigmoid,
                           .top_k = 8,
                           .groups = 8,
                           .top_groups = 4,
                           .normalise = true,
                           .scale = 2.5f};
  constexpr int32_t kRows = 16, kExperts = 256;
  const Routing routing =
      Route(spec, kExperts, Normals(kRows * kExperts, 3, 2), Normals(kExperts, 4, 0.5f));
  for (size_t row = 0; row < kRows; ++row) {
    std::set<int32_t> groups, experts;
    float sum = 0;
    for (size_t i = row * 8; i < (row + 1) * 8; ++i) {
      groups.insert(routing.chosen[i] / 32);
      experts.insert(routing.chosen[i]);
      sum += routing.weights[i];
    }
    EXPECT_NEAR(sum, 2.5f, 1e-5f);
    EXPECT_LE(groups.size(), 4u);
    EXPECT_EQ(experts.size(), 8u);
  }
}

TEST_P(MixtureOps, TiesGoToTheLowerId) {
  EXPECT_EQ(Route({.top_k = 3}, 6, std::vector<float>(6, 1.5f)).chosen,
            (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(Route({.top_k = 2}, 5, {0, 7, 7, 7, 0}).chosen, (std::vector<int32_t>{1, 2}));
  const RouterSpec groups = {.top_k = 1, .groups = 2, .top_groups = 1};
  EXPECT_EQ(Route(groups, 4, {1, 2, 2, 1}).chosen, (std::vector<int32_t>{1}));
}

// A broken row still gets experts that exist, each once, so that nothing is read out of bounds.
TEST_P(MixtureOps, NotANumberIsNeverABadIndex) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const RouterSpec sigmoid = {.score = RouterScore::kSigmoid, .top_k = 2};
  const RouterSpec groups = {
      .score = RouterScore::kSigmoid, .top_k = 2, .groups = 2, .top_groups = 1};
  for (const RouterSpec& spec : {RouterSpec{.top_k = 2}, sigmoid, groups}) {
    for (const std::vector<float>& row : {std::vector<float>{nan, nan, nan, nan},
                                          {0, nan, 1, 2},
                                          {inf, inf, 0, 0},
                                          {-inf, -inf, -inf, -inf},
                                          {nan, 1, nan, nan}}) {
      const Routing routing = Route(spec, 4, row);
      const Routing expected = Route(*ref_, spec, 4, row);
      EXPECT_EQ(routing.chosen, expected.chosen);
      EXPECT_TRUE(Near(expected.weights, routing.weights, kF32));
      EXPECT_GE(routing.chosen[0], 0);
      EXPECT_LT(routing.chosen[0], routing.chosen[1]);
      EXPECT_LT(routing.chosen[1], 4);
    }
  }
  // NaN loses against every number.
  EXPECT_EQ(Route(sigmoid, 4, {nan, -50, nan, -60}).chosen, (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(Route(groups, 4, {nan, nan, -50, -60}).chosen, (std::vector<int32_t>{2, 3}));
}

TEST_P(MixtureOps, ARowIsRoutedAsIfAlone) {
  constexpr int32_t kExperts = 40;
  const std::vector<float> logits = Normals(50 * kExperts, 3);
  const std::vector<float> bias = Normals(kExperts, 4, 0.1f);
  for (const RouterSpec& spec : kSpecs) {
    const Routing together = Route(*device_, spec, kExperts, logits, bias);
    for (const int64_t row : {0, 7, 49}) {
      const Routing alone =
          Route(*device_, spec, kExperts,
                {logits.begin() + row * kExperts, logits.begin() + (row + 1) * kExperts}, bias,
                /*misalign=*/3);
      for (int32_t i = 0; i < spec.top_k; ++i) {
        EXPECT_EQ(alone.chosen[i], together.chosen[row * spec.top_k + i]);
        EXPECT_EQ(alone.weights[i], together.weights[row * spec.top_k + i]);
      }
    }
  }
}

TEST_P(MixtureOps, AddRows) {
  constexpr int64_t kRows = 9;
  for (const int64_t width : {1, 15, 16, 100, 2048}) {
    for (const size_t entries : {0, 1, 2, 40}) {
      std::vector<int32_t> rows;
      for (size_t i = 0; i < entries; ++i) {
        rows.push_back(RandomInt(5, static_cast<int64_t>(i), kRows - 1));  // the last one is left
      }
      const std::vector<float> weights = Normals(entries, 6);
      Floats x(Normals(entries * width, 7), 1);
      const std::vector<float> before = Normals(kRows * width, 8);
      Floats expected(before, 0), actual(before, 1);
      ops::AddRowsArgs args = {
          .rows = rows, .weights = weights, .width = width, .x = x.data(), .out = expected.data()};
      ASSERT_TRUE(ref_->AddRows(args).ok());
      args.out = actual.data();
      ASSERT_TRUE(device_->AddRows(args).ok());
      EXPECT_TRUE(Near(expected.values(), actual.values(), kF32)) << width << ", " << entries;
      EXPECT_TRUE(actual.GuardsIntact());
      EXPECT_TRUE(BitEqual({before.end() - width, before.end()},
                           {actual.data() + (kRows - 1) * width, actual.data() + kRows * width}));
    }
  }
}

// Entries of other rows in between, and the cut of columns into threads, change nothing.
TEST_P(MixtureOps, AddRowsToARowAsIfAlone) {
  constexpr int64_t kWidth = 5000;
  const std::vector<int32_t> rows = {2, 0, 1, 2, 2, 0, 1, 2};
  const std::vector<float> weights = Normals(rows.size(), 9);
  const std::vector<float> x = Normals(rows.size() * kWidth, 10);
  const std::vector<float> before = Normals(3 * kWidth, 11);
  std::vector<float> together = before;
  ASSERT_TRUE(device_
                  ->AddRows({.rows = rows,
                             .weights = weights,
                             .width = kWidth,
                             .x = x.data(),
                             .out = together.data()})
                  .ok());
  std::vector<float> alone(before.begin() + 2 * kWidth, before.end());
  for (const size_t i : {0, 3, 4, 7}) {
    const std::vector<int32_t> row = {0};
    ASSERT_TRUE(device_
                    ->AddRows({.rows = row,
                               .weights = {&weights[i], 1},
                               .width = kWidth,
                               .x = &x[i * kWidth],
                               .out = alone.data()})
                    .ok());
  }
  EXPECT_TRUE(BitEqual(alone, {together.begin() + 2 * kWidth, together.end()}));
}

INSTANTIATE_TEST_SUITE_P(Devices, MixtureOps, testing::ValuesIn(AllTargets()), TargetName);

}  // namespace
}  // namespace tessera::ops_test
