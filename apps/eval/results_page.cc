#include "apps/eval/results_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "apps/eval/own_text.h"
#include "apps/eval/stats.h"
#include "apps/eval/targets.h"

namespace tessera::eval {
namespace {

constexpr double kOnePoint = 0.01;

std::string Escape(std::string_view text) {
  std::string safe;
  for (const char c : text) safe += c == '|' ? std::string("\\|") : std::string(1, c);
  return safe;
}

// Three significant digits below 1000.
std::string Short(double value) {
  if (value >= 100) return fmt::format("{:.0f}", value);
  return value >= 10 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

double PerCase(int64_t count, const Measurement& m) {
  return m.cases == 0 ? 0 : static_cast<double>(count) / static_cast<double>(m.cases);
}

// "1.2 + 3.4w + 0.5f": full, window and finalise forwards per case.
std::string ForwardsText(const Measurement& m) {
  std::string text = Short(PerCase(m.full, m));
  if (m.window > 0) text += " + " + Short(PerCase(m.window, m)) + "w";
  if (m.finalise > 0) text += " + " + Short(PerCase(m.finalise, m)) + "f";
  return text;
}

// Columns that a table has only where they say something.
struct MoreColumns {
  bool against = false;    // the grid's curve at equal accuracy
  bool revisions = false;  // some row changed decided tokens
  bool drift = false;      // some row measured it
  int count() const { return against + revisions + drift; }
};

MoreColumns ColumnsOf(const GridReport& report, size_t group) {
  MoreColumns more{.against = !report.grid.against.empty()};
  for (const Cell& cell : report.cells) {
    if (cell.group != group) continue;
    more.revisions = more.revisions || cell.sum.revisions > 0;
    more.drift = more.drift || cell.sum.drift_forwards > 0;
  }
  return more;
}

std::string TableHead(const GridReport& report, const MoreColumns& more) {
  std::string head =
      "| model | strategy | % right | 95 % interval | points | forwards/case | fewer | "
      "tokens/forward | rows/token | tokens/s |";
  std::string rule = "\n|---|---|---|---|---|---|---|---|---|---|";
  if (more.against) head += fmt::format(" against {} |", Escape(report.grid.against));
  if (more.revisions) head += " revised/case |";
  if (more.drift) head += " drift |";
  for (int i = 0; i < more.count(); ++i) rule += "---|";
  return head + rule + "\n";
}

std::string TableLine(const GridReport& report, const Cell& cell, const MoreColumns& more) {
  const std::string& strategy = report.grid.entries[cell.entry].strategy;
  std::string head = fmt::format("| {} | `{}` ", Escape(cell.model), Escape(strategy));
  if (cell.missing > 0) head += fmt::format("({} tasks not run) ", cell.missing);
  if (!cell.refused.empty()) {
    return head + fmt::format("| refused: {} |||||||{}\n", Escape(cell.refused),
                              std::string(static_cast<size_t>(more.count() + 1), '|'));
  }
  const Measurement& m = cell.sum;
  const Cell* base = report.BaselineOf(cell);
  const Interval interval = m.accuracy_interval();
  std::string against = "", fewer = "";
  if (base != nullptr && base != &cell && base->complete() && m.forwards() > 0) {
    against = fmt::format("{:+.1f}", 100 * (m.accuracy() - base->sum.accuracy()));
    fewer = Short(base->sum.forwards_per_case() / m.forwards_per_case()) + "×";
  }
  std::string line = fmt::format(
      "| {} | {} to {} | {} | {} | {} | {} | {} | {} |", PercentText(m.accuracy()),
      PercentText(interval.low), PercentText(interval.high), against, ForwardsText(m), fewer,
      Short(m.tokens_per_forward()), Short(m.rows_per_token()), Short(m.tokens_per_second()));
  if (more.against) {
    const double ratio = AgainstCurve(report, report.grid.against, cell);
    line += ratio < 0 ? " |" : fmt::format(" {:.2f} |", ratio);
  }
  if (more.revisions) {
    line += m.revisions == 0 ? " |" : fmt::format(" {} |", Short(PerCase(m.revisions, m)));
  }
  if (more.drift) line += m.drift_forwards == 0 ? " |" : fmt::format(" {:.3f} |", m.drift());
  return head + line + "\n";
}

// The most parallel row that loses at most a point against its baseline.
std::string BestLine(const GridReport& report, size_t group) {
  std::string text;
  Strings seen;
  for (const Cell& cell : report.cells) {
    if (cell.group != group || std::find(seen.begin(), seen.end(), cell.model) != seen.end()) {
      continue;
    }
    seen.push_back(cell.model);
    const Cell* base = report.BaselineOf(cell);
    const Cell* best = nullptr;
    for (const Cell& other : report.cells) {
      if (base == nullptr || other.group != group || other.model != cell.model ||
          !other.complete() || !base->complete() || other.sum.forwards() == 0 ||
          AimsAtOwnText(report.grid.entries[other.entry].strategy) ||  // a bound, not a method
          other.sum.accuracy() < base->sum.accuracy() - kOnePoint - 1e-9) {
        continue;
      }
      if (best == nullptr || other.sum.forwards_per_case() < best->sum.forwards_per_case()) {
        best = &other;
      }
    }
    if (best == nullptr || best == base) continue;
    text += fmt::format(
        "Fewest forwards of {} within one point of `{}`: `{}`, {}× fewer ({} % against {} %).\n",
        cell.model, report.grid.entries[base->entry].strategy,
        report.grid.entries[best->entry].strategy,
        Short(base->sum.forwards_per_case() / best->sum.forwards_per_case()),
        PercentText(best->sum.accuracy()), PercentText(base->sum.accuracy()));
  }
  return text;
}

std::string LikelihoodTable(const GridReport& report, size_t group) {
  std::string text = "| model | nats per token | 95 % interval | tokens |\n|---|---|---|---|\n";
  for (const Cell& cell : report.cells) {
    if (cell.group != group || cell.sum.nll_tokens == 0) continue;
    const Interval interval = cell.sum.nats_interval();
    text +=
        fmt::format("| {} | {:.4f} | {:.4f} to {:.4f} | {} |\n", Escape(cell.model),
                    cell.sum.nats_per_token(), interval.low, interval.high, cell.sum.nll_tokens);
  }
  return text;
}

std::string GroupSection(const GridReport& report, size_t group) {
  const SweepGroup& g = report.grid.groups[group];
  int64_t cases = 0;
  bool likelihood = false;
  for (const Cell& cell : report.cells) {
    if (cell.group != group) continue;
    cases = std::max(cases, cell.sum.cases);
    likelihood = likelihood || cell.sum.nll_tokens > 0;
  }
  std::string text = fmt::format("### {}\n\n{} cases", g.name, cases);
  if (g.tasks.size() > 1 || g.tasks[0] != g.name) {
    text += fmt::format(" of {}", fmt::join(g.tasks, ", "));
  }
  text += ".\n\n";
  if (likelihood) return text + LikelihoodTable(report, group) + "\n";
  const MoreColumns more = ColumnsOf(report, group);
  text += TableHead(report, more);
  for (const Cell& cell : report.cells) {
    if (cell.group == group) text += TableLine(report, cell, more);
  }
  const std::string best = BestLine(report, group);
  return text + "\n" + best + (best.empty() ? "" : "\n");
}

// Curves by row, groups by column.
std::string CurveTable(const GridReport& report) {
  std::vector<std::pair<std::string, std::string>> curves;  // model, curve
  bool lines = false;
  for (const CurveScore& score : report.curves) {
    const std::pair key(score.model, score.curve);
    if (std::find(curves.begin(), curves.end(), key) == curves.end()) curves.push_back(key);
    lines = lines || score.points > 1;
  }
  if (!lines) return "";
  std::set<size_t> groups;
  for (const CurveScore& score : report.curves) groups.insert(score.group);
  std::string text = "### Accuracy under parallelism\n\n| model | curve |";
  std::string rule = "\n|---|---|";
  for (const size_t group : groups) {
    text += " " + report.grid.groups[group].name + " |";
    rule += "---|";
  }
  text += rule + "\n";
  for (const auto& [model, curve] : curves) {
    text += fmt::format("| {} | {} |", Escape(model), Escape(curve));
    for (const size_t group : groups) {
      const auto it =
          std::find_if(report.curves.begin(), report.curves.end(), [&](const CurveScore& score) {
            return score.group == group && score.model == model && score.curve == curve;
          });
      text += it == report.curves.end() ? " |" : fmt::format(" {:.0f} |", it->aup);
    }
    text += "\n";
  }
  return text + "\n";
}

// What no method that draws items independently can exceed.
std::string LimitsTable() {
  std::string text =
      "### Closed-form limits\n\n"
      "The best that independent choices can do, item by item from perfect marginals (in %):\n\n"
      "| items | copy | replace one at random, one step | shuffle, one step | shuffle, 2 items per "
      "step | shuffle, 1 item per step |\n|---|---|---|---|---|---|\n";
  for (int n = 3; n <= 6; ++n) {
    text += fmt::format("| {} | 100 | {} | {} | {} | {} |\n", n, PercentText(ReplaceLimit(n)),
                        PercentText(ShuffleLimit(n, n)), PercentText(ShuffleLimit(n, 2)),
                        PercentText(ShuffleLimit(n, 1)));
  }
  return text + "\n";
}

// What was to be reached, of all grids.
std::string TargetsSection(const std::vector<GridReport>& reports) {
  std::string table, reasons;
  for (const GridReport& report : reports) {
    for (const TargetOutcome& outcome : JudgeTargets(report)) {
      const SweepTarget& target = *outcome.target;
      const bool share = target.measure == SweepTarget::Measure::kRecovered;
      std::string best = "none";
      if (outcome.best != nullptr) {
        best = fmt::format("{}{}, {} % right: {} `{}`", Short(outcome.value), share ? "" : "×",
                           PercentText(outcome.best->sum.accuracy()), Escape(outcome.best->model),
                           Escape(report.grid.entries[outcome.best->entry].strategy));
      }
      table += fmt::format("| {} | {}, {} | {} | {} | {} |\n", Escape(target.name),
                           Escape(report.grid.name), Escape(target.group), outcome.needed, best,
                           outcome.reached ? "yes" : "**no**");
      if (!target.reason.empty()) {
        reasons += fmt::format("- {}: {}\n", target.name, target.reason);
      }
    }
  }
  if (table.empty()) return "";
  return fmt::format(
      "## Targets\n\n| method | table | needed | best | reached |\n|---|---|---|---|---|\n{}\n{}{}",
      table, reasons, reasons.empty() ? "" : "\n");
}

std::string Machines(const std::vector<GridReport>& reports) {
  std::set<std::string> machines;
  for (const GridReport& report : reports) {
    for (const Cell& cell : report.cells) {
      for (const Row& row : cell.rows) {
        machines.insert(fmt::format("{} ({}, {} weights)", row.machine, row.settings.device,
                                    row.settings.dtype));
      }
    }
  }
  return fmt::format("{}", fmt::join(machines, "; "));
}

}  // namespace

std::string PercentText(double share) { return fmt::format("{:.1f}", 100 * share); }

std::string MakePage(const std::vector<GridReport>& reports, const PageContext& context) {
  std::string text = fmt::format(
      "# Results\n\n"
      "Quality and cost of every way to decode, measured by `{0}` from the rows and settings in\n"
      "`{1}`; do not edit by hand. To measure rows again: add `--only NAME` with a strategy,\n"
      "curve, model or task group of a table; it says whether each row came out as recorded.\n\n"
      "- *% right* with its 95 % Wilson interval; *points* is the difference to the model's first\n"
      "  row. Cases are the same for every row, so differences are surer than the intervals.\n"
      "- *forwards/case* by kind: full, window (w), finalise (f); *fewer* is against the model's\n"
      "  first row. *tokens/forward* counts tokens to the first end of text, so it stays below "
      "one\n"
      "  where a method also decides the padding after it. *rows/token*: positions evaluated in\n"
      "  all forwards, per token.\n"
      "- *against CURVE*: forwards that this curve needs for the row's accuracy (linear between\n"
      "  its settings) over the row's own; above 1 the row is cheaper. *revised/case*: decided\n"
      "  tokens replaced or taken back. *drift*: distance, 0 to 1, of predictions from reused "
      "rows\n"
      "  to those of recomputed ones, at the positions that `drift=` looks at.\n"
      "- *tokens/s* to the end of text, on {2}. Times vary between machines and with their load;\n"
      "  everything else is the same for the same seed, version and instruction set. Another\n"
      "  instruction set rounds differently and may turn single cases at near ties.\n"
      "- *Accuracy under parallelism* (AUP, arXiv 2601.07568) is the area under accuracy against\n"
      "  tokens per forward, weighted by exp(-3 (1 - accuracy / best)), points more than five\n"
      "  percentage points below a curve's first left out. A single setting scores its "
      "rectangle.\n\n",
      context.command, context.sweep, Machines(reports));
  text += TargetsSection(reports);
  for (size_t i = 0; i < reports.size(); ++i) {
    const GridReport& report = reports[i];
    const SweepSettings& s = report.grid.settings;
    text += fmt::format("## {}\n\n", report.grid.name);
    for (const std::string& note : report.grid.notes) text += note + "\n";
    text += fmt::format(
        "{}Settings: {} cases per task, {} at once, canvas {}, temperature {:g}, seed {}.\n\n",
        report.grid.notes.empty() ? "" : "\n", s.limit == 0 ? "all" : std::to_string(s.limit),
        s.batch, s.max_tokens, s.temperature, s.seed);
    if (report.grid.limits) text += LimitsTable();
    if (i < context.charts.size() && !context.charts[i].empty()) {
      text += fmt::format("![Accuracy against tokens per forward]({})\n\n", context.charts[i]);
    }
    for (size_t group = 0; group < report.grid.groups.size(); ++group) {
      text += GroupSection(report, group);
    }
    text += CurveTable(report);
  }
  return text;
}

}  // namespace tessera::eval
