#include "apps/cli/metrics.h"

#include <gtest/gtest.h>

namespace tessera::cli {
namespace {

TEST(Metrics, CountsTimeInTheEngineOnly) {
  const api::GenerateMetrics metrics{.output_tokens = 30,
                                     .full_forwards = 4,
                                     .window_forwards = 6,
                                     .weight_bytes = 10'000'000'000,
                                     .seconds = 3};
  const Rates rates = RatesOf(metrics, /*filled=*/0, /*drawing_seconds=*/1);
  EXPECT_DOUBLE_EQ(rates.tokens_per_second, 15);
  EXPECT_DOUBLE_EQ(rates.tokens_per_forward, 3);
  EXPECT_DOUBLE_EQ(rates.weights_gb_per_second, 5);
}

TEST(Metrics, FilledHolesAreTheTokensOfInfilling) {
  const api::GenerateMetrics metrics{.window_forwards = 2, .seconds = 1};
  EXPECT_EQ(RatesOf(metrics, /*filled=*/8, 0).tokens, 8);
  EXPECT_DOUBLE_EQ(RatesOf(metrics, /*filled=*/8, 0).tokens_per_forward, 4);
}

TEST(Metrics, NothingRanIsNotADivisionByZero) {
  const Rates rates = RatesOf({}, 0, 0);
  EXPECT_EQ(rates.tokens_per_second, 0);
  EXPECT_EQ(rates.tokens_per_forward, 0);
  EXPECT_EQ(StatsLine(rates, {}),
            "0 tokens in 0 ms · 0 tokens/s · 0 forwards · 0 tokens/forward · 0 rows/token · 0 GB/s "
            "weights");
}

TEST(Metrics, RowsPerTokenCountEveryEvaluatedRow) {
  const api::GenerateMetrics metrics{
      .output_tokens = 10, .full_forwards = 1, .window_forwards = 4, .rows = 250};
  EXPECT_DOUBLE_EQ(RatesOf(metrics, 0, 0).rows_per_token, 25);
}

TEST(Metrics, DriftIsShownOnlyWhereItWasMeasured) {
  api::GenerateMetrics metrics{.output_tokens = 1, .window_forwards = 2};
  EXPECT_EQ(StatsLine({}, metrics).find("drift"), std::string::npos);
  metrics.drift_forwards = 2;
  metrics.drift_mean = 0.25;
  metrics.drift_max = 0.5;
  EXPECT_NE(StatsLine({}, metrics).find("drift 0.25 (max 0.5)"), std::string::npos);
}

TEST(Metrics, NamesOnlyTheKindsThatRan) {
  EXPECT_EQ(ForwardsByKind(1, 8, 0), "9 forwards (1 full, 8 window)");
  EXPECT_EQ(ForwardsByKind(0, 8, 2), "10 forwards (8 window, 2 finalise)");
}

TEST(Metrics, OneForwardIsNotPlural) { EXPECT_EQ(ForwardsByKind(1, 0, 0), "1 forward (1 full)"); }

TEST(Metrics, ShortNumbers) {
  EXPECT_EQ(Short(1234.5), "1234");
  EXPECT_EQ(Short(12.34), "12.3");
  EXPECT_EQ(Short(1.234), "1.23");
  EXPECT_EQ(Short(0.01234), "0.0123");
  EXPECT_EQ(Time(0.04312), "43.1 ms");
  EXPECT_EQ(Time(2.5), "2.50 s");
}

}  // namespace
}  // namespace tessera::cli
