// KvCopy against the reference: chains, swaps through a spare slot, and self-moves.
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
  for (const auto type : {ops::KvType::kF32, ops::KvType::kBF16}) {
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
        EXPECT_TRUE(
            Near(expected.Forward(), actual.Forward(), type == ops::KvType::kF32 ? kF32 : kBF16Kv))
            << "case " << i;
      }
    }
  }
}

TEST_P(KvCopy, CopiesBits) {
  // Attending to the copy alone gives exactly what attending to the original alone gave.
  const auto device = Make(GetParam());
  Scenario scenario = {
      .heads = 4,
      .kv_heads = 2,
      .head_dim = 24,
      .rotary_dim = 24,
      .sequences = {{.id = 1, .context = 140, .slots = {141}, .visible = {{17, 18}}}}};
  AttentionRun original(*device, scenario);
  original.StoreContext();
  scenario.sequences[0].visible = {{131, 132}};
  AttentionRun copy(*device, scenario);
  copy.StoreContext();
  copy.Copy(0, {{17, 131}});
  EXPECT_TRUE(BitEqual(original.Forward(), copy.Forward()));
}

INSTANTIATE_TEST_SUITE_P(Devices, KvCopy, testing::ValuesIn(AllTargets()), TargetName);

}  // namespace
}  // namespace tessera::ops_test
