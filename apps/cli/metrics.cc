#include "apps/cli/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "apps/cli/text_util.h"

namespace tessera::cli {

Rates RatesOf(const api::GenerateMetrics& metrics, int64_t filled, double drawing_seconds) {
  Rates rates{.tokens = metrics.output_tokens + filled,
              .seconds = std::max(0.0, metrics.seconds - drawing_seconds)};
  const auto forwards = static_cast<double>(metrics.forwards());
  const auto tokens = static_cast<double>(rates.tokens);
  if (rates.seconds > 0) {
    rates.tokens_per_second = tokens / rates.seconds;
    rates.weights_gb_per_second = static_cast<double>(metrics.weight_bytes) / rates.seconds / 1e9;
  }
  if (forwards > 0) rates.tokens_per_forward = tokens / forwards;
  if (tokens > 0) rates.rows_per_token = static_cast<double>(metrics.rows) / tokens;
  return rates;
}

std::string ForwardsByKind(int64_t full, int64_t window, int64_t finalise) {
  std::vector<std::string> kinds;
  if (full > 0) kinds.push_back(fmt::format("{} full", full));
  if (window > 0) kinds.push_back(fmt::format("{} window", window));
  if (finalise > 0) kinds.push_back(fmt::format("{} finalise", finalise));
  const int64_t total = full + window + finalise;
  if (total == 0) return "0 forwards";
  return fmt::format("{} forward{} ({})", total, total == 1 ? "" : "s", fmt::join(kinds, ", "));
}

std::string StatsLine(const Rates& rates, const api::GenerateMetrics& metrics) {
  std::string extras = fmt::format(" · {} rows/token", Short(rates.rows_per_token));
  if (metrics.drift_forwards > 0) {
    extras +=
        fmt::format(" · drift {} (max {})", Short(metrics.drift_mean), Short(metrics.drift_max));
  }
  if (metrics.edited > 0) extras += fmt::format(" · {} edited", Thousands(metrics.edited));
  if (metrics.remasked > 0) extras += fmt::format(" · {} taken back", Thousands(metrics.remasked));
  if (metrics.drafted > 0) {
    extras += fmt::format(" · {} of {} drafted tokens accepted", metrics.accepted, metrics.drafted);
  }
  return fmt::format(
      "{} token{} in {} · {} tokens/s · {} · {} tokens/forward{} · {} GB/s weights",
      Thousands(rates.tokens), rates.tokens == 1 ? "" : "s", Time(rates.seconds),
      Short(rates.tokens_per_second),
      ForwardsByKind(metrics.full_forwards, metrics.window_forwards, metrics.finalise_forwards),
      Short(rates.tokens_per_forward), extras, Short(rates.weights_gb_per_second));
}

std::string Time(double seconds) {
  return seconds < 1 ? Short(1e3 * seconds) + " ms" : Short(seconds) + " s";
}

std::string Short(double value) {
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (size >= 100) return fmt::format("{:.0f}", value);
  if (size >= 10) return fmt::format("{:.1f}", value);
  if (size >= 1) return fmt::format("{:.2f}", value);
  return fmt::format("{:.3g}", value);
}

}  // namespace tessera::cli
