#include "tessera/quantize/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace tessera::quantize {
namespace {

constexpr ops::TokenId kMask = 99;

ops::ModelTraits Traits(ops::AttentionKind attention) {
  return {
      .attention = attention, .block = 8, .mask_id = kMask, .vocab_size = 100, .max_positions = 64};
}

CalibrationText Text(int32_t length, int32_t given) {
  CalibrationText text{.tokens = std::vector<ops::TokenId>(static_cast<size_t>(length)),
                       .given = given};
  for (int32_t i = 0; i < length; ++i) text.tokens[static_cast<size_t>(i)] = i % 50;
  return text;
}

TEST(Calibration, CausalTextsAreReadOnceAsTheyAre) {
  const std::vector<CalibrationText> texts = {Text(10, 4), Text(100, 0), Text(0, 0)};
  const auto set = MakeCalibration(texts, Traits(ops::AttentionKind::kCausal), {});
  ASSERT_TRUE(set.ok());
  ASSERT_EQ(set->sequences.size(), 2u);
  EXPECT_EQ(set->sequences[0], texts[0].tokens);
  EXPECT_EQ(set->sequences[1].size(), 64u);  // the context
  EXPECT_EQ(set->rows, 74);
  EXPECT_EQ(set->masked, 0);
}

TEST(Calibration, DiffusionMasksUniformRatiosAndNeverThePrompt) {
  const std::vector<CalibrationText> texts = {Text(60, 20), Text(8, 8), Text(40, 0)};
  const auto set = MakeCalibration(texts, Traits(ops::AttentionKind::kBidirectional),
                                   {.max_rows = 20'000, .seed = 3});
  ASSERT_TRUE(set.ok());
  EXPECT_GE(set->rows, 20'000);
  EXPECT_LT(set->rows, 20'060);
  int low = 0, high = 0;
  for (const auto& tokens : set->sequences) {
    ASSERT_TRUE(tokens.size() == 60 || tokens.size() == 40);  // the prompt alone is left out
    const size_t given = tokens.size() == 60 ? 20 : 0;
    int64_t masked = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] != kMask) {
        EXPECT_EQ(tokens[i], static_cast<int32_t>(i) % 50);
        continue;
      }
      EXPECT_GE(i, given);
      ++masked;
    }
    EXPECT_GE(masked, 1);
    low += masked < 10;
    high += masked > 30;
  }
  // A quarter of uniform ratios lies below 1/4, a quarter above 3/4.
  const double count = static_cast<double>(set->sequences.size());
  EXPECT_NEAR(low / count, 0.25, 0.08);
  EXPECT_NEAR(high / count, 0.25, 0.08);
  EXPECT_NEAR(set->mask_ratio(), 0.5, 0.05);
}

TEST(Calibration, BlocksSeeFinishedBlocksBeforeThem) {
  const std::vector<CalibrationText> texts = {Text(50, 11)};
  const auto set = MakeCalibration(texts, Traits(ops::AttentionKind::kBlockCausal),
                                   {.max_rows = 5'000, .seed = 1});
  ASSERT_TRUE(set.ok());
  std::set<size_t> lengths;
  for (const auto& tokens : set->sequences) {
    lengths.insert(tokens.size());
    const size_t last = (tokens.size() - 1) / 8 * 8;
    const auto first = std::find(tokens.begin(), tokens.end(), kMask);
    ASSERT_NE(first, tokens.end());
    EXPECT_GE(static_cast<size_t>(first - tokens.begin()), std::max<size_t>(last, 11));
  }
  EXPECT_EQ(lengths, (std::set<size_t>{16, 24, 32, 40, 48, 50}));
}

TEST(Calibration, SeedDecides) {
  const std::vector<CalibrationText> texts = {Text(60, 20), Text(40, 0)};
  const auto make = [&](uint64_t seed) {
    return MakeCalibration(texts, Traits(ops::AttentionKind::kBidirectional),
                           {.max_rows = 1000, .seed = seed})
        ->sequences;
  };
  EXPECT_EQ(make(1), make(1));
  EXPECT_NE(make(1), make(2));
}

TEST(Calibration, RefusesTextsWithNothingToMask) {
  const std::vector<CalibrationText> texts = {Text(8, 8), Text(0, 0)};
  for (const auto attention :
       {ops::AttentionKind::kBidirectional, ops::AttentionKind::kBlockCausal}) {
    EXPECT_FALSE(MakeCalibration(texts, Traits(attention), {}).ok());
  }
  EXPECT_FALSE(MakeCalibration({}, Traits(ops::AttentionKind::kCausal), {}).ok());
  // A prompt that fills the context leaves nothing either.
  const std::vector<CalibrationText> full = {Text(80, 70)};
  EXPECT_FALSE(MakeCalibration(full, Traits(ops::AttentionKind::kBidirectional), {}).ok());
}

}  // namespace
}  // namespace tessera::quantize
