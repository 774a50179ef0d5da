#include "apps/eval/targets.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/eval/stats.h"

namespace tessera::eval {
namespace {

using Measure = SweepTarget::Measure;

bool Counts(const GridReport& report, const SweepTarget& target, const Cell& cell) {
  if (!cell.complete() || cell.sum.forwards() == 0 ||
      report.grid.groups[cell.group].name != target.group) {
    return false;
  }
  const std::string curve = report.CurveOf(cell);
  return std::any_of(target.curves.begin(), target.curves.end(),
                     [&](const std::string& name) { return name == "*" || name == curve; });
}

std::string Needed(const SweepTarget& target, const std::string& first) {
  const std::string limit = fmt::format("at most {:g} points lost", target.points);
  switch (target.measure) {
    case Measure::kForwards:
      return fmt::format("{:g}× fewer forwards than `{}`, {}", target.factor, first, limit);
    case Measure::kTokensPerSecond:
      return fmt::format("{:g}× the tokens/s of `{}`, {}", target.factor, first, limit);
    case Measure::kAgainst:
      return fmt::format("more than {:g}× fewer forwards than {} at equal accuracy", target.factor,
                         target.reference);
    case Measure::kRecovered:
      return fmt::format("{:g} of the accuracy between `{}` and `{}`", target.factor,
                         target.reference, first);
  }
  return "";
}

// Of one row; below 0: it does not count.
double Value(const GridReport& report, const SweepTarget& target, const Cell& first,
             const Cell* reference, const Cell& cell) {
  const Measurement& m = cell.sum;
  const double lost = 100 * (first.sum.accuracy() - m.accuracy());
  const bool admitted = lost <= target.points + 1e-9;
  switch (target.measure) {
    case Measure::kForwards:
      return admitted ? first.sum.forwards_per_case() / m.forwards_per_case() : -1;
    case Measure::kTokensPerSecond:
      return admitted && first.sum.seconds > 0
                 ? m.tokens_per_second() / first.sum.tokens_per_second()
                 : -1;
    case Measure::kAgainst: return AgainstCurve(report, target.reference, cell);
    case Measure::kRecovered: {
      if (reference == nullptr) return -1;
      const double gap = first.sum.accuracy() - reference->sum.accuracy();
      return gap <= 0 ? -1 : std::max(0.0, m.accuracy() - reference->sum.accuracy()) / gap;
    }
  }
  return -1;
}

}  // namespace

double AgainstCurve(const GridReport& report, const std::string& curve, const Cell& cell) {
  std::vector<CostPoint> points;
  for (const Cell& other : report.cells) {
    if (other.group == cell.group && other.model == cell.model && other.complete() &&
        report.CurveOf(other) == curve) {
      points.push_back({.cost = other.sum.forwards_per_case(), .accuracy = other.sum.accuracy()});
    }
  }
  const double cost = CostAt(points, cell.sum.accuracy());
  return cost < 0 || cell.sum.forwards() == 0 ? -1 : cost / cell.sum.forwards_per_case();
}

std::vector<TargetOutcome> JudgeTargets(const GridReport& report) {
  std::vector<TargetOutcome> outcomes;
  for (const SweepTarget& target : report.grid.targets) {
    TargetOutcome outcome{.target = &target,
                          .needed = Needed(target, report.grid.entries[0].strategy)};
    const Cell* first = nullptr;
    const Cell* reference = nullptr;
    for (const Cell& cell : report.cells) {
      if (report.grid.groups[cell.group].name != target.group || !cell.complete()) continue;
      if (cell.entry == 0) first = &cell;
      if (report.grid.entries[cell.entry].strategy == target.reference) reference = &cell;
    }
    for (const Cell& cell : report.cells) {
      if (first == nullptr || &cell == first || !Counts(report, target, cell)) continue;
      const double value = Value(report, target, *first, reference, cell);
      if (value < 0 || (outcome.best != nullptr && value <= outcome.value)) continue;
      outcome.best = &cell;
      outcome.value = value;
    }
    const bool strictly = target.measure == Measure::kAgainst;
    outcome.reached = outcome.best != nullptr &&
                      (strictly ? outcome.value > target.factor : outcome.value >= target.factor);
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

}  // namespace tessera::eval
