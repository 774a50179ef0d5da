// Bit-exact invariance: a row's result never depends on batch mates, thread count, how its keys are
// cut into ranges or which pages they live in.
#include "tests/ops/attention_scenario.h"
#include "tests/ops/stats_harness.h"

namespace tessera::ops_test {
namespace {

using ops::MaskRule;
using ops::RowStats;

class Invariance : public testing::TestWithParam<Target> {
 protected:
  std::vector<float> Forward(const Scenario& scenario) {
    AttentionRun run(*device_, scenario);
    run.StoreContext(17);
    return run.Forward();
  }
  Scenario Base(ops::KvType type, int32_t head_dim = 40) const {
    return {.name = {},
            .heads = 6,
            .kv_heads = 3,
            .head_dim = head_dim,
            .rotary_dim = head_dim,
            .norms = true,
            .type = type};
  }

  std::unique_ptr<ops::Device> device_ = Make(GetParam());
};

std::vector<Sequence> Mixed() {
  return {{.id = 1, .context = 150, .slots = Slots(60, 92), .visible = {{0, 150}}},
          {.id = 2,
           .context = 99,
           .slots = Slots(99, 104),
           .rule = MaskRule::kCausal,
           .visible = {{0, 104}}},
          {.id = 3,
           .context = 64,
           .slots = Slots(64, 128),
           .rule = MaskRule::kBlockCausal,
           .block = 24,
           .visible = {{0, 128}}},
          {.id = 4,
           .context = 70,
           .slots = {70, 71, 72},
           .rule = MaskRule::kBits,
           .visible = {{0, 70}},
           .bits = {1, 3, 5}}};
}

TEST_P(Invariance, AttentionOfABatchIsThatOfItsParts) {
  const std::pair<ops::KvType, int32_t> formats[] = {{ops::KvType::kF32, 40},
                                                     {ops::KvType::kBF16, 40},
                                                     {ops::KvType::kBF16, 64},
                                                     {ops::KvType::kInt8, 40},
                                                     {ops::KvType::kInt8, 64}};
  for (const auto& [type, head_dim] : formats) {
    if (!device_->HoldsKv(type)) continue;
    Scenario all = Base(type, head_dim);
    all.sequences = Mixed();
    const std::vector<float> together = Forward(all);
    std::vector<float> apart;
    for (const Sequence& sequence : all.sequences) {
      Scenario one = Base(type, head_dim);
      one.sequences = {sequence};
      const std::vector<float> out = Forward(one);
      apart.insert(apart.end(), out.begin(), out.end());
    }
    EXPECT_TRUE(BitEqual(together, apart));
  }
}

TEST_P(Invariance, AttentionOfARowAloneIsThatInItsWindow) {
  for (const ops::KvType type : {ops::KvType::kF32, ops::KvType::kInt8}) {
    if (!device_->HoldsKv(type)) continue;
    Scenario window = Base(type);
    window.sequences = {Mixed()[0]};
    const std::vector<float> together = Forward(window);
    const size_t width = 6 * 40;
    const auto rows = [&](const std::vector<float>& all, size_t row) {
      return std::vector<float>(all.begin() + row * width, all.begin() + (row + 1) * width);
    };
    for (const int32_t row : {0, 1, 30, 31}) {
      Scenario one = window;
      one.sequences[0].slots = {60 + row};
      EXPECT_TRUE(BitEqual(rows(together, row), Forward(one)));
    }
    // In any order, and twice the rows.
    Scenario reversed = window;
    std::reverse(reversed.sequences[0].slots.begin(), reversed.sequences[0].slots.end());
    const std::vector<float> backwards = Forward(reversed);
    for (size_t row = 0; row < 32; ++row) {
      EXPECT_TRUE(BitEqual(rows(together, row), rows(backwards, 31 - row)));
    }
  }
}

TEST_P(Invariance, CutOfKeyRanges) {
  const std::pair<MaskRule, int32_t> cases[] = {{MaskRule::kFull, 40},
                                                {MaskRule::kCausal, 40},
                                                {MaskRule::kBlockCausal, 40},
                                                {MaskRule::kFull, 64},
                                                {MaskRule::kBlockCausal, 128}};
  const bool int8 = device_->HoldsKv(ops::KvType::kInt8);
  for (const auto& [rule, head_dim] : cases) {
    const bool last = int8 && head_dim == 128;
    Scenario base = Base(last ? ops::KvType::kInt8 : ops::KvType::kBF16, head_dim);
    base.sequences = {{.id = 9,
                       .context = 260,
                       .slots = Slots(100, 110),
                       .rule = rule,
                       .block = 32,
                       .visible = {{0, 64}}}};
    const std::vector<std::vector<ops::SlotRange>> cuts = {
        {{0, 32}, {32, 64}}, {{0, 1}, {1, 2}, {2, 63}, {63, 64}}, {{0, 0}, {0, 64}, {64, 64}}};
    const std::vector<float> whole = Forward(base);
    for (const auto& cut : cuts) {
      base.sequences[0].visible = cut;
      EXPECT_TRUE(BitEqual(whole, Forward(base)));
    }
    base.sequences[0].visible = {{3, 250}};
    const std::vector<float> wide = Forward(base);
    base.sequences[0].visible = {{3, 60}, {60, 65}, {65, 128}, {128, 129}, {129, 250}};
    EXPECT_TRUE(BitEqual(wide, Forward(base)));
  }
}

TEST_P(Invariance, RulesThatAllowTheSameKeysAgree) {
  // Causal over a row's past, full over the same slots, and bits that spell it out.
  Scenario causal = Base(ops::KvType::kF32), full = causal, bits = causal, blocks = causal;
  causal.sequences = {
      {.id = 5, .context = 130, .slots = {130}, .rule = MaskRule::kCausal, .visible = {{0, 200}}}};
  full.sequences = {{.id = 5, .context = 130, .slots = {130}, .visible = {{0, 131}}}};
  bits.sequences = {{.id = 5,
                     .context = 130,
                     .slots = {130},
                     .rule = MaskRule::kBits,
                     .visible = {{0, 130}},
                     .bits = {1}}};
  blocks.sequences = {{.id = 5,
                       .context = 130,
                       .slots = {130},
                       .rule = MaskRule::kBlockCausal,
                       .block = 131,
                       .visible = {{0, 200}}}};
  const std::vector<float> expected = Forward(full);
  EXPECT_TRUE(BitEqual(expected, Forward(causal)));
  EXPECT_TRUE(BitEqual(expected, Forward(bits)));
  EXPECT_TRUE(BitEqual(expected, Forward(blocks)));
}

TEST_P(Invariance, ThreadCount) {
  for (const ops::KvType type : KvTypes(*device_)) {
    Scenario all = Base(type);
    all.sequences = Mixed();
    device_ = Make(GetParam());
    const std::vector<float> here = Forward(all);
    Target other = GetParam();
    other.threads = 2;
    device_ = Make(other);
    EXPECT_TRUE(BitEqual(here, Forward(all)));
  }
}

std::vector<float> Flatten(const RowStats& stats) {
  std::vector<float> values = {
      float(stats.argmax), float(stats.second),  stats.p1,       stats.p2, stats.entropy,
      stats.lse,           float(stats.sampled), stats.p_sampled};
  values.insert(values.end(), stats.p_probe.begin(), stats.p_probe.end());
  for (const auto& [id, log_p] : stats.top) values.insert(values.end(), {float(id), log_p});
  return values;
}

TEST_P(Invariance, HeadStatsOfABatchAreThoseOfItsRows) {
  constexpr int64_t kVocab = 3000, kIn = 48, kRows = 150;
  const std::vector<float> hidden = Normals(kRows * kIn, 61), weight = Normals(kVocab * kIn, 62);
  ops::SamplingSpec plain, sampled, filtered;
  sampled.temperature = 0.8f;
  sampled.top_n = 6;
  filtered = sampled;
  filtered.top_p = 0.8f;
  filtered.stats_of_filtered = true;
  const ops::SamplingSpec* specs[] = {&plain, &sampled, &filtered};
  const std::vector<ops::TokenId> probe = {0, 2999, 512};
  std::vector<ops::RowRequest> requests;
  for (int32_t i = 0; i < 2 * kRows; ++i) {
    requests.push_back({.row = i % int32_t{kRows},
                        .guidance_row = i % 7 == 0 ? (i + 5) % 20 : -1,
                        .guidance_scale = 1.5f,
                        .sampling = specs[i % 3],
                        .key = {.seed = 4, .position = i},
                        .history = {},
                        .probe = probe});
  }
  for (const auto type : {ops::WeightType::kF32, ops::WeightType::kBF16}) {
    const auto head = PackFloats(*device_, weight, kVocab, kIn, type);
    std::vector<RowStats> together(requests.size());
    ASSERT_TRUE(device_
                    ->HeadStats({.rows = kRows,
                                 .hidden = hidden.data(),
                                 .head = head.get(),
                                 .requests = requests,
                                 .stats = together})
                    .ok());
    Target two = GetParam();
    two.threads = 2;
    const auto other = Make(two);
    const auto other_head = PackFloats(*other, weight, kVocab, kIn, type);
    for (size_t i = 0; i < requests.size(); i += 11) {
      RowStats alone;
      ASSERT_TRUE(other
                      ->HeadStats({.rows = kRows,
                                   .hidden = hidden.data(),
                                   .head = other_head.get(),
                                   .requests = std::span(requests).subspan(i, 1),
                                   .stats = std::span(&alone, 1)})
                      .ok());
      EXPECT_TRUE(BitEqual(Flatten(together[i]), Flatten(alone))) << "request " << i;
    }
  }
}

TEST_P(Invariance, RowOps) {
  const std::vector<float> x = Normals(40 * 200, 63, 3), weight = Normals(200, 64);
  std::vector<float> norm(40 * 200), silu(40 * 100), one(200);
  ASSERT_TRUE(device_
                  ->RmsNorm({.rows = 40,
                             .width = 200,
                             .x = x.data(),
                             .weight = weight.data(),
                             .eps = 1e-5f,
                             .out = norm.data()})
                  .ok());
  ASSERT_TRUE(
      device_->SiluMul({.rows = 40, .width = 100, .gate_up = x.data(), .out = silu.data()}).ok());
  for (size_t row = 0; row < 40; ++row) {
    Floats alone({x.begin() + row * 200, x.begin() + (row + 1) * 200}, 1);
    ASSERT_TRUE(device_
                    ->RmsNorm({.rows = 1,
                               .width = 200,
                               .x = alone.data(),
                               .weight = weight.data(),
                               .eps = 1e-5f,
                               .out = one.data()})
                    .ok());
    EXPECT_TRUE(BitEqual({norm.begin() + row * 200, norm.begin() + (row + 1) * 200}, one));
    ASSERT_TRUE(
        device_->SiluMul({.rows = 1, .width = 100, .gate_up = alone.data(), .out = one.data()})
            .ok());
    EXPECT_TRUE(BitEqual({silu.begin() + row * 100, silu.begin() + (row + 1) * 100},
                         {one.begin(), one.begin() + 100}));
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, Invariance, testing::ValuesIn(AllTargets()), TargetName);

}  // namespace
}  // namespace tessera::ops_test
