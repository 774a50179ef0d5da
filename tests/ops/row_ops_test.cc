// Embed, RmsNorm, Linear, SiluMul, GatherRows and HeadLogits against the reference.
#include <algorithm>
#include <cmath>

#include "tests/ops/harness.h"

namespace tessera::ops_test {
namespace {

class RowOps : public testing::TestWithParam<Target> {
 protected:
  std::unique_ptr<ops::Device> device_ = Make(GetParam());
  std::unique_ptr<ops::Device> ref_ = MakeRef();
};

constexpr int64_t kRows[] = {0, 1, 2, 3, 17, 64};
constexpr int64_t kWidths[] = {1, 7, 8, 16, 31, 64, 100, 1000, 4096};

TEST_P(RowOps, RmsNorm) {
  for (const int64_t rows : kRows) {
    for (const int64_t width : kWidths) {
      for (const size_t misalign : {0, 1}) {
        Floats x(Normals(rows * width, 1, 3), misalign), weight(Normals(width, 2), misalign);
        Floats expected(rows * width), actual(rows * width, misalign);
        ops::RmsNormArgs args = {.rows = rows,
                                 .width = width,
                                 .x = x.data(),
                                 .weight = weight.data(),
                                 .eps = 1e-5f,
                                 .out = expected.data()};
        ASSERT_TRUE(ref_->RmsNorm(args).ok());
        args.out = actual.data();
        ASSERT_TRUE(device_->RmsNorm(args).ok());
        EXPECT_TRUE(Near(expected.values(), actual.values(), kF32)) << rows << " x " << width;
        EXPECT_TRUE(actual.GuardsIntact());
        args.out = x.data();  // in place
        ASSERT_TRUE(device_->RmsNorm(args).ok());
        EXPECT_TRUE(BitEqual(actual.values(), x.values())) << rows << " x " << width;
      }
    }
  }
}

TEST_P(RowOps, RmsNormSpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float special : {inf, nan, 0.0f, 1e-30f, 1e15f}) {
    std::vector<float> x(3 * 40, special == 0 || special == 1e-30f ? special : 1);
    x[40 + 5] = special;
    Floats input(x, 0), weight(Normals(40, 3), 0), expected(120), actual(120);
    ops::RmsNormArgs args = {.rows = 3,
                             .width = 40,
                             .x = input.data(),
                             .weight = weight.data(),
                             .eps = 1e-6f,
                             .out = expected.data()};
    ASSERT_TRUE(ref_->RmsNorm(args).ok());
    args.out = actual.data();
    ASSERT_TRUE(device_->RmsNorm(args).ok());
    EXPECT_TRUE(Near(expected.values(), actual.values(), kF32)) << special;
  }
}

TEST_P(RowOps, SiluMul) {
  for (const int64_t rows : kRows) {
    for (const int64_t width : kWidths) {
      for (const size_t misalign : {0, 3}) {
        Floats x(Normals(rows * 2 * width, 4, 5), misalign);
        Floats expected(rows * width), actual(rows * width, misalign);
        ops::SiluMulArgs args = {
            .rows = rows, .width = width, .gate_up = x.data(), .out = expected.data()};
        ASSERT_TRUE(ref_->SiluMul(args).ok());
        args.out = actual.data();
        ASSERT_TRUE(device_->SiluMul(args).ok());
        EXPECT_TRUE(Near(expected.values(), actual.values(), kF32)) << rows << " x " << width;
        EXPECT_TRUE(actual.GuardsIntact());
      }
    }
  }
}

TEST_P(RowOps, SiluMulSpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> gate = {inf,   88,    89,     200,
                                   1e30f, 0,     -0.0f,  -80,
                                   -88,   -1000, -1e30f, std::numeric_limits<float>::quiet_NaN()};
  const auto width = static_cast<int64_t>(gate.size());
  std::vector<float> x = gate;
  x.insert(x.end(), gate.size(), 1.5f);
  Floats expected(gate.size()), actual(gate.size());
  ASSERT_TRUE(
      ref_->SiluMul({.rows = 1, .width = width, .gate_up = x.data(), .out = expected.data()}).ok());
  ASSERT_TRUE(
      device_->SiluMul({.rows = 1, .width = width, .gate_up = x.data(), .out = actual.data()})
          .ok());
  for (size_t i = 0; i < gate.size(); ++i) {
    // One by one: the huge values would hide the small ones in a norm.
    EXPECT_TRUE(Near({1, expected.values()[i]}, {1, actual.values()[i]}, kF32)) << gate[i];
  }
}

TEST_P(RowOps, EmbedAndGather) {
  constexpr int64_t kVocab = 101;
  for (const auto type : {ops::WeightType::kF32, ops::WeightType::kBF16}) {
    for (const int64_t width : {1, 40, 129}) {
      const std::vector<float> table = Normals(kVocab * width, 5);
      const auto ref_table = PackFloats(*ref_, table, kVocab, width, type);
      const auto device_table = PackFloats(*device_, table, kVocab, width, type);
      for (const int64_t rows : kRows) {
        std::vector<ops::TokenId> tokens(rows);
        std::vector<int32_t> chosen(2 * rows);
        for (int64_t i = 0; i < rows; ++i) tokens[i] = RandomInt(6, i, kVocab);
        if (rows > 1) tokens.front() = 0, tokens.back() = kVocab - 1;
        for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = RandomInt(7, i, rows);
        Floats expected(rows * width), actual(rows * width, 1);
        ASSERT_TRUE(
            ref_->Embed({.table = ref_table.get(), .tokens = tokens, .out = expected.data()}).ok());
        ASSERT_TRUE(
            device_->Embed({.table = device_table.get(), .tokens = tokens, .out = actual.data()})
                .ok());
        EXPECT_TRUE(BitEqual(expected.values(), actual.values()));
        EXPECT_TRUE(actual.GuardsIntact());
        Floats gathered(chosen.size() * width, 1);
        ASSERT_TRUE(
            device_
                ->GatherRows(
                    {.rows = chosen, .width = width, .x = expected.data(), .out = gathered.data()})
                .ok());
        for (size_t i = 0; i < chosen.size(); ++i) {
          for (int64_t d = 0; d < width; ++d) {
            ASSERT_EQ(gathered.data()[i * width + d], expected.data()[chosen[i] * width + d]);
          }
        }
        EXPECT_TRUE(gathered.GuardsIntact());
      }
    }
  }
}

TEST_P(RowOps, LinearAndHeadLogits) {
  struct Shape {
    int64_t out, in;
  };
  for (const auto type : {ops::WeightType::kF32, ops::WeightType::kBF16}) {
    const Tolerance tolerance = type == ops::WeightType::kF32 ? kF32 : kBF16Linear;
    for (const Shape shape : {Shape{1, 1}, {17, 33}, {64, 128}, {100, 300}, {515, 96}}) {
      const std::vector<float> weight = Normals(shape.out * shape.in, 8);
      const auto ref_matrix = PackFloats(*ref_, weight, shape.out, shape.in, type);
      const auto matrix = PackFloats(*device_, weight, shape.out, shape.in, type);
      for (const int64_t rows : {0, 1, 5, 32, 70}) {
        for (const bool accumulate : {false, true}) {
          Floats x(Normals(rows * shape.in, 9), 1), bias(Normals(shape.out, 10), 1);
          const std::vector<float> before = Normals(rows * shape.out, 11);
          Floats expected(before, 0), actual(before, 1);
          ops::LinearArgs args = {.rows = rows,
                                  .x = x.data(),
                                  .weight = ref_matrix.get(),
                                  .bias = accumulate ? nullptr : bias.data(),
                                  .y = expected.data(),
                                  .accumulate = accumulate};
          ASSERT_TRUE(ref_->Linear(args).ok());
          args.weight = matrix.get();
          args.y = actual.data();
          ASSERT_TRUE(device_->Linear(args).ok());
          EXPECT_TRUE(Near(expected.values(), actual.values(), tolerance))
              << shape.out << " x " << shape.in << ", rows " << rows;
          EXPECT_TRUE(actual.GuardsIntact());
        }
        Floats x(Normals(rows * shape.in, 9), 0);
        Floats expected(rows * shape.out), actual(rows * shape.out, 1);
        ASSERT_TRUE(ref_->HeadLogits({.rows = rows,
                                      .hidden = x.data(),
                                      .head = ref_matrix.get(),
                                      .logits = expected.data()})
                        .ok());
        ASSERT_TRUE(device_
                        ->HeadLogits({.rows = rows,
                                      .hidden = x.data(),
                                      .head = matrix.get(),
                                      .logits = actual.data()})
                        .ok());
        EXPECT_TRUE(Near(expected.values(), actual.values(), tolerance));
        EXPECT_TRUE(actual.GuardsIntact());
      }
    }
  }
}

TEST_P(RowOps, BuffersHoldWhatWasUploaded) {
  const std::vector<float> values = Normals(1000, 12);
  auto buffer = device_->Upload(values);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ((*buffer)->bytes, values.size() * sizeof(float));
  std::vector<float> read(values.size());
  ASSERT_TRUE(device_->Read(read.data(), (*buffer)->data, (*buffer)->bytes).ok());
  EXPECT_TRUE(BitEqual(values, read));
  const std::vector<float> others = Normals(10, 13);
  float* middle = static_cast<float*>((*buffer)->data) + 500;
  ASSERT_TRUE(device_->Write(middle, others.data(), others.size() * sizeof(float)).ok());
  ASSERT_TRUE(device_->Read(read.data(), (*buffer)->data, (*buffer)->bytes).ok());
  std::vector<float> expected = values;
  std::copy(others.begin(), others.end(), expected.begin() + 500);
  EXPECT_TRUE(BitEqual(expected, read));
  EXPECT_TRUE(device_->Write((*buffer)->data, nullptr, 0).ok());
  EXPECT_TRUE(device_->Allocate(0).ok());
}

TEST_P(RowOps, AllocationFailureIsAnError) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer stops the process instead";
#else
  EXPECT_EQ(device_->Allocate(size_t{1} << 60).status().code(), StatusCode::kResourceExhausted);
#endif
}

INSTANTIATE_TEST_SUITE_P(Devices, RowOps, testing::ValuesIn(AllTargets()), TargetName);

TEST(Comparison, FailsOnNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(Near({1, 2}, {1, nan}, kF32));
  EXPECT_FALSE(Near({1, nan}, {1, 2}, kF32));
  EXPECT_FALSE(Near({1}, {std::numeric_limits<float>::infinity()}, kF32));
  EXPECT_FALSE(Near({1, 2}, {1, 2.1f}, kF32));
  EXPECT_TRUE(Near({1, nan}, {1, nan}, kF32));
}

}  // namespace
}  // namespace tessera::ops_test
