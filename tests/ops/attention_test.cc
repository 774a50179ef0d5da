// RotateAndStore and Attention against the reference, over one table of scenarios.
#include <algorithm>
#include <cmath>

#include "tests/ops/attention_scenario.h"

namespace tessera::ops_test {
namespace {

using ops::KvType;
using ops::MaskRule;

// A window of a diffusion canvas: rows [begin, end) of a canvas of `length` slots.
Sequence Window(uint64_t id, int32_t length, int32_t begin, int32_t end) {
  return {.id = id, .context = length, .slots = Slots(begin, end), .visible = {{0, length}}};
}

Sequence Causal(uint64_t id, int32_t begin, int32_t end) {
  return {.id = id,
          .context = begin,
          .slots = Slots(begin, end),
          .rule = MaskRule::kCausal,
          .visible = {{0, end}}};
}

Sequence BlockCausal(uint64_t id, int32_t begin, int32_t end, int32_t block) {
  return {.id = id,
          .context = begin,
          .slots = Slots(begin, end),
          .rule = MaskRule::kBlockCausal,
          .block = block,
          .visible = {{0, end}}};
}

// A random tree of `rows` drafts at scattered slots past a context.
Sequence Tree(uint64_t id, int32_t context, int32_t rows) {
  Sequence sequence = {.id = id,
                       .context = context,
                       .slots = {},
                       .rule = MaskRule::kBits,
                       .block = 0,
                       .visible = {{0, context}},
                       .bits = {}};
  const int32_t words = (rows + 63) / 64;
  sequence.bits.assign(rows * words, 0);
  for (int32_t i = 0; i < rows; ++i) {
    sequence.slots.push_back(context + (i * 7 + 3) % (rows + 8 - rows % 7));
    if (i > 0) {
      const int32_t parent = RandomInt(id, i, i);
      for (int32_t w = 0; w < words; ++w) {
        sequence.bits[i * words + w] = sequence.bits[parent * words + w];
      }
    }
    sequence.bits[i * words + i / 64] |= uint64_t{1} << (i % 64);
  }
  std::vector<int32_t> sorted = sequence.slots;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    for (int32_t i = 0; i < rows; ++i) sequence.slots[i] = context + rows - 1 - i;
  }
  return sequence;
}

std::vector<Scenario> Shapes(const std::vector<KvType>& types) {
  struct Shape {
    int32_t heads, kv_heads, head_dim, rotary_dim;
  };
  std::vector<Scenario> scenarios;
  for (const Shape shape : {Shape{1, 1, 8, 8},
                            {3, 3, 24, 24},
                            {4, 2, 16, 8},
                            {7, 1, 40, 40},
                            {6, 2, 72, 64},
                            {8, 2, 128, 64},
                            {2, 1, 256, 256},
                            {64, 1, 8, 2},
                            {5, 5, 20, 0},
                            {70, 1, 8, 8}}) {
    for (const KvType type : types) {
      for (const bool norms : {false, true}) {
        scenarios.push_back({.name = "shape",
                             .heads = shape.heads,
                             .kv_heads = shape.kv_heads,
                             .head_dim = shape.head_dim,
                             .rotary_dim = shape.rotary_dim,
                             .norms = norms,
                             .type = type,
                             .sequences = {Window(1, 100, 60, 69), Causal(2, 63, 70)}});
      }
    }
  }
  return scenarios;
}

std::vector<Scenario> Masks() {
  std::vector<std::pair<std::string, std::vector<Sequence>>> cases = {
      {"no rows", {}},
      {"empty sequence between others",
       {Window(1, 70, 0, 3), {.id = 2, .visible = {{0, 0}}}, Window(3, 10, 2, 4)}},
      {"one row, one key", {Window(1, 1, 0, 1)}},
      {"one row", {Window(1, 200, 130, 131)}},
      {"full canvas", {Window(1, 150, 0, 150)}},
      {"page borders", {Window(1, 64, 0, 64), Window(2, 65, 64, 65), Window(3, 128, 60, 70)}},
      {"causal prefill", {Causal(1, 0, 200)}},
      {"causal step", {Causal(1, 129, 130)}},
      {"causal chunk", {Causal(1, 100, 140)}},
      {"tree", {Tree(1, 100, 20)}},
      {"tree without context", {Tree(1, 0, 9)}},
      {"wide tree", {Tree(1, 60, 130)}},
      {"hidden from itself",
       {{.id = 1, .context = 80, .slots = {80, 81, 82}, .visible = {{3, 9}}}}},
      {"sees nothing",
       {{.id = 1, .context = 80, .slots = {80, 81}, .visible = {}},
        {.id = 2,
         .context = 0,
         .slots = {0, 70},
         .rule = MaskRule::kCausal,
         .visible = {{70, 71}}}}},
      {"empty ranges",
       {{.id = 1,
         .context = 200,
         .slots = {5},
         .visible = {{0, 0}, {7, 9}, {64, 64}, {70, 70}, {130, 140}}}}},
      {"holes",
       {{.id = 1,
         .context = 300,
         .slots = Slots(300, 310),
         .visible = {{0, 1}, {2, 60}, {63, 65}, {127, 128}, {200, 310}}},
        {.id = 2,
         .context = 300,
         .slots = Slots(250, 280),
         .rule = MaskRule::kCausal,
         .visible = {{10, 20}, {255, 256}, {260, 300}}}}},
      {"scattered causal rows",
       {{.id = 1,
         .context = 300,
         .slots = {299, 3, 130, 64, 63},
         .rule = MaskRule::kCausal,
         .visible = {{0, 300}}}}},
      {"many sequences",
       {Window(1, 90, 30, 62), Causal(2, 77, 78), BlockCausal(3, 64, 128, 32), Tree(4, 33, 12),
        Causal(5, 0, 30), Window(6, 5, 0, 5)}},
  };
  for (const int32_t block : {1, 3, 4, 32, 64, 100, 4096}) {
    cases.push_back({"blocks of " + std::to_string(block),
                     {BlockCausal(1, 0, 150, block), BlockCausal(2, 96, 128, block)}});
  }
  {
    Sequence isolated = Tree(1, 70, 6);  // no context listed, and bits past the last row
    isolated.visible.clear();
    for (uint64_t& word : isolated.bits) word |= ~uint64_t{0} << 6;
    isolated.bits[2] = 0;
    cases.push_back({"tree of isolated rows", {isolated}});
  }
  {
    Sequence overlap = Tree(1, 40, 10);  // fresh slots that are listed as well count once
    overlap.slots = Slots(40, 50);
    overlap.visible = {{0, 45}};
    cases.push_back({"tree with listed fresh slots", {overlap}});
  }
  std::vector<Scenario> scenarios;
  for (const auto& [name, sequences] : cases) {
    scenarios.push_back({.name = name,
                         .heads = 6,
                         .kv_heads = 2,
                         .head_dim = 32,
                         .rotary_dim = 32,
                         .sequences = sequences});
  }
  return scenarios;
}

class Attention : public testing::TestWithParam<Target> {};

void ExpectAsReference(const Target& target, const Scenario& scenario, size_t misalign) {
  SCOPED_TRACE(scenario.name);
  const auto ref = MakeRef();
  const auto device = Make(target);
  AttentionRun expected(*ref, scenario), actual(*device, scenario);
  expected.StoreContext();
  actual.StoreContext(50);
  const std::vector<float> want = expected.Forward();
  const std::vector<float> got = actual.Forward(misalign);
  EXPECT_TRUE(Near(expected.q(), actual.q(), kF32)) << "Q, head_dim " << scenario.head_dim;
  EXPECT_TRUE(Near(want, got,
                   scenario.type == KvType::kF32       ? kF32
                   : scenario.type == KvType::kInt8    ? kInt8Kv
                   : target.device.starts_with("cuda") ? kBF16Attention
                                                       : kBF16Kv))
      << "head_dim " << scenario.head_dim << ", heads " << scenario.heads;
  for (const float value : got) ASSERT_FALSE(std::isnan(value));
}

TEST_P(Attention, Shapes) {
  for (const Scenario& scenario : Shapes(KvTypes(*Make(GetParam())))) {
    ExpectAsReference(GetParam(), scenario, 1);
  }
}

TEST_P(Attention, Masks) {
  const std::vector<KvType> types = KvTypes(*Make(GetParam()));
  for (Scenario scenario : Masks()) {
    for (const KvType type : types) {
      scenario.type = type;
      ExpectAsReference(GetParam(), scenario, type == KvType::kF32 ? 0 : 3);
    }
  }
}

TEST_P(Attention, LongContext) {
  ExpectAsReference(GetParam(),
                    {.name = "8k keys",
                     .heads = 2,
                     .kv_heads = 1,
                     .head_dim = 16,
                     .rotary_dim = 16,
                     .sequences = {Window(1, 8200, 4000, 4005), Causal(2, 4100, 4102)}},
                    1);
}

TEST_P(Attention, Int8KeysAndValuesStayNearF32) {
  const auto device = Make(GetParam());
  if (!device->HoldsKv(KvType::kInt8)) GTEST_SKIP() << "no int8 K/V on this device";
  Scenario scenario = {.heads = 6,
                       .kv_heads = 3,
                       .head_dim = 40,
                       .rotary_dim = 40,
                       .norms = true,
                       .sequences = {Window(1, 300, 100, 132), Causal(2, 130, 140)}};
  AttentionRun exact(*device, scenario);
  scenario.type = KvType::kInt8;
  AttentionRun rounded(*device, scenario);
  exact.StoreContext();
  rounded.StoreContext();
  const std::vector<float> expected = exact.Forward(), actual = rounded.Forward();
  EXPECT_TRUE(Near(expected, actual, kInt8BesideF32Kv));
  EXPECT_FALSE(Near(expected, actual, kF32));  // it does round
}

TEST_P(Attention, RowWithoutKeysIsZero) {
  const auto device = Make(GetParam());
  for (const KvType type : KvTypes(*device)) {
    AttentionRun run(*device, {.heads = 2,
                               .kv_heads = 1,
                               .head_dim = 16,
                               .type = type,
                               .sequences = {{.id = 1, .context = 10, .slots = {10}, .visible = {}},
                                             Window(2, 10, 0, 1)}});
    run.StoreContext();
    const std::vector<float> out = run.Forward();
    for (size_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], 0) << i;
    EXPECT_NE(out[32], 0);
  }
}

TEST_P(Attention, VisibleNaNAndHugeScoresArePropagated) {
  // A NaN in K or V of a visible slot reaches every row that sees it and no other row.
  const auto device = Make(GetParam());
  std::vector<std::pair<int, KvType>> cases;
  for (const KvType type : KvTypes(*device)) {
    for (const int kind : {0, 1, 2}) cases.emplace_back(kind, type);
  }
  for (const auto& [kind, type] : cases) {
    Scenario scenario = {
        .heads = 2,
        .kv_heads = 2,
        .head_dim = 16,
        .rotary_dim = 16,
        .type = type,
        .sequences = {{.id = 1, .context = 70, .slots = {100, 101}, .visible = {{0, 70}}},
                      {.id = 2, .context = 70, .slots = {100, 101}, .visible = {{0, 70}}}}};
    // Slot 75 is listed but never written: NaN.
    if (kind == 1) scenario.sequences[0].visible = {{0, 70}, {75, 76}};
    if (kind == 2) scenario.sequences[1].visible = {{0, 70}, {75, 76}};
    AttentionRun run(*device, scenario);
    run.StoreContext();
    const std::vector<float> out = run.Forward();
    for (size_t i = 0; i < out.size(); ++i) {
      const bool poisoned = (kind == 1 && i < out.size() / 2) || (kind == 2 && i >= out.size() / 2);
      ASSERT_EQ(std::isnan(out[i]), poisoned) << kind << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, Attention, testing::ValuesIn(AllTargets()), TargetName);

}  // namespace
}  // namespace tessera::ops_test
