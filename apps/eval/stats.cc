#include "apps/eval/stats.h"

#include <algorithm>
#include <cmath>

namespace tessera::eval {
namespace {

constexpr double kZ = 1.959963984540054;  // the 97.5 % quantile of the normal distribution

}  // namespace

Interval Wilson(double right, double cases) {
  if (cases <= 0) return {.low = 0, .high = 1};
  const double p = right / cases;
  const double z2 = kZ * kZ / cases;
  const double middle = (p + z2 / 2) / (1 + z2);
  const double half = kZ * std::sqrt(p * (1 - p) / cases + z2 / (4 * cases)) / (1 + z2);
  return {.low = std::max(0.0, middle - half), .high = std::min(1.0, middle + half)};
}

Interval MeanInterval(double sum, double sum_of_squares, double cases) {
  if (cases < 2) return {.low = 0, .high = 1};
  const double mean = sum / cases;
  const double variance = std::max(0.0, (sum_of_squares - cases * mean * mean) / (cases - 1));
  const double half = kZ * std::sqrt(variance / cases);
  return {.low = std::max(0.0, mean - half), .high = std::min(1.0, mean + half)};
}

double Aup(std::vector<CurvePoint> points, double best) {
  constexpr double kPenalty = 3;       // alpha
  constexpr double kAllowance = 0.05;  // of accuracy against the first point
  if (points.empty()) return 0;
  std::sort(points.begin(), points.end(), [](const CurvePoint& a, const CurvePoint& b) {
    return a.tokens_per_forward < b.tokens_per_forward;
  });
  const double least = points.front().accuracy - kAllowance;
  std::erase_if(points, [&](const CurvePoint& p) { return p.accuracy < least - 1e-12; });
  const auto weighted = [&](const CurvePoint& p) {
    if (best <= 0) return 0.0;
    return 100 * p.accuracy * std::min(1.0, std::exp(-kPenalty * (1 - p.accuracy / best)));
  };
  double area = points.front().tokens_per_forward * 100 * points.front().accuracy;
  for (size_t i = 1; i < points.size(); ++i) {
    const double width = points[i].tokens_per_forward - points[i - 1].tokens_per_forward;
    area += width * (weighted(points[i]) + weighted(points[i - 1])) / 2;
  }
  return area;
}

double CostAt(std::vector<CostPoint> points, double accuracy) {
  std::sort(points.begin(), points.end(), [](const CostPoint& a, const CostPoint& b) {
    return a.cost != b.cost ? a.cost < b.cost : a.accuracy > b.accuracy;
  });
  CostPoint before{.cost = -1, .accuracy = 0};
  for (const CostPoint& point : points) {
    if (before.cost >= 0 && point.accuracy <= before.accuracy) continue;  // below the envelope
    if (point.accuracy >= accuracy) {
      if (before.cost < 0) return point.accuracy == accuracy ? point.cost : -1;
      const double share = (accuracy - before.accuracy) / (point.accuracy - before.accuracy);
      return before.cost + share * (point.cost - before.cost);
    }
    before = point;
  }
  return -1;
}

double ShuffleLimit(int n, int together) {
  if (n < 1 || together < 1) return 0;
  double success = 1, orders = 1;
  for (int rest = n; rest > 0; rest -= together) {
    const int group = std::min(together, rest);
    for (int i = 0; i < group; ++i) success *= static_cast<double>(rest - i) / rest;
  }
  for (int i = 2; i <= n; ++i) orders *= i;
  return success * (orders - 1) / orders;
}

double ReplaceLimit(int n) { return n < 1 ? 0 : std::pow(1 - 1.0 / n, n - 1); }

}  // namespace tessera::eval
