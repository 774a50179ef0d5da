// KvCopy against the reference: chains, swaps through a spare slot, and self-moves.
#include <cmath>
#include <limits>

#include "tests/ops/attention_scenario.h"

namespace tessera::ops_test {
namespace {

class KvCopy : public testing::TestWithParam<Target> {};

TEST_P(KvCopy, MovesApplyInOrder) {
  using Moves = std::vector<std::pair<int32_t, int32_t>>;
  const std::vector<Moves> cases = {
      {},
      {{3, 3}},
      {{90, 10}},
      {{10, 11}, {11, 12}, {12, 13}},  // a chain copies slot 10 everywhere
      {{13, 12}, {12, 11}, {11, 10}},
      {{70, 64}, {71, 65}, {72, 66}, {80, 67}},  // compaction after a partly accepted tree
      {{5, 120}, {77, 5}, {120, 77}},            // swap through a spare slot
      {{63, 64}, {64, 63}},
  };
  const auto ref = MakeRef();
  const auto device = Make(GetParam());
  for (const auto type : KvTypes(*device)) {
    for (const int32_t head_dim : {8, 40}) {
      for (size_t i = 0; i < cases.size(); ++i) {
        const Scenario scenario = {
            .name = "copy",
            .heads = 2,
            .kv_heads = 2,
            .head_dim = head_dim,
            .rotary_dim = 8,
            .norms = false,
            .type = type,
            .sequences = {{.id = 1,
                           .context = 100,
                           .slots = {130},
                           .visible = {{5, 6}, {10, 14}, {63, 68}, {77, 78}, {130, 131}}},
                          {.id = 2, .context = 100, .slots = {101}, .visible = {{0, 100}}}}};
        AttentionRun expected(*ref, scenario), actual(*device, scenario);
        expected.StoreContext();
        actual.StoreContext();
        expected.Copy(0, cases[i]);
        actual.Copy(0, cases[i]);
        EXPECT_TRUE(Near(expected.Forward(), actual.Forward(),
                         type == ops::KvType::kF32    ? kF32
                         : type == ops::KvType::kBF16 ? kBF16Kv
                                                      : kInt8Kv))
            << "case " << i;
      }
    }
  }
}

TEST_P(KvCopy, CopiesBits) {
  // Attending to the copy alone gives exactly what attending to the original alone gave.
  const auto device = Make(GetParam());
  for (const auto type : KvTypes(*device)) {
    Scenario scenario = {
        .heads = 4,
        .kv_heads = 2,
        .head_dim = 24,
        .rotary_dim = 24,
        .type = type,
        .sequences = {{.id = 1, .context = 140, .slots = {141}, .visible = {{17, 18}}}}};
    AttentionRun original(*device, scenario);
    original.StoreContext();
    scenario.sequences[0].visible = {{131, 132}};
    AttentionRun copy(*device, scenario);
    copy.StoreContext();
    copy.Copy(0, {{17, 131}});
    EXPECT_TRUE(BitEqual(original.Forward(), copy.Forward()));
  }
}

TEST(QuantizeKv, RoundsToTheNearestOf255Steps) {
  for (const int32_t count : {1, 7, 128, 300}) {
    const std::vector<float> x = Normals(count, 31 + count, 3);
    std::vector<int8_t> codes(count);
    const float scale = ops::QuantizeKv(x.data(), count, codes.data());
    float largest = 0;
    for (const float value : x) largest = std::max(largest, std::fabs(value));
    EXPECT_EQ(scale, largest / 127);
    int most = 0;
    for (int32_t i = 0; i < count; ++i) {
      EXPECT_NEAR(x[i], codes[i] * scale, scale * 0.50001f) << i;
      most = std::max(most, std::abs(int{codes[i]}));
    }
    EXPECT_EQ(most, 127);
  }
  const float ties[] = {127, 2.5f, 3.5f, -2.5f, -127};
  std::vector<int8_t> codes(5);
  EXPECT_EQ(ops::QuantizeKv(ties, 5, codes.data()), 1);
  EXPECT_EQ(codes, (std::vector<int8_t>{127, 2, 4, -2, -127}));
}

TEST(QuantizeKv, ZerosTinyAndBrokenValues) {
  std::vector<int8_t> codes(2, 1);
  const float zeros[] = {0.0f, -0.0f}, tiny[] = {1e-40f, -1e-38f};
  EXPECT_EQ(ops::QuantizeKv(zeros, 2, codes.data()), 0);
  EXPECT_EQ(ops::QuantizeKv(tiny, 2, codes.data()), 0);
  EXPECT_EQ(codes, (std::vector<int8_t>{0, 0}));
  for (const float broken : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    const float values[] = {1.0f, -broken};
    EXPECT_TRUE(std::isnan(ops::QuantizeKv(values, 2, codes.data())));
    EXPECT_EQ(codes, (std::vector<int8_t>{0, 0}));
  }
}

TEST(KvType, NamesAreParsedAndOthersRefused) {
  for (const auto type : {ops::KvType::kF32, ops::KvType::kBF16, ops::KvType::kInt8}) {
    const auto parsed = ops::ParseKvType(ops::Name(type));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, type);
  }
  EXPECT_EQ(ops::ParseKvType("fp8").status().message(),
            "K/V type: got 'fp8', accepted: auto, f32, bf16, int8");
}

INSTANTIATE_TEST_SUITE_P(Devices, KvCopy, testing::ValuesIn(AllTargets()), TargetName);

}  // namespace
}  // namespace tessera::ops_test
