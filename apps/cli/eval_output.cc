#include "apps/cli/eval_output.h"

#include <algorithm>

#include "apps/cli/metrics.h"
#include "apps/cli/output.h"
#include "apps/cli/table.h"
#include "apps/cli/text_util.h"
#include "apps/eval/chart.h"
#include "apps/eval/results_page.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

using eval::Cell;
using eval::GridReport;
using eval::Measurement;
using eval::PercentText;

std::string IntervalText(const Measurement& m) {
  const eval::Interval interval = m.accuracy_interval();
  return PercentText(interval.low) + " to " + PercentText(interval.high);
}

std::string GroupTable(const GridReport& report, size_t group) {
  Table table({{"model", Table::Align::kLeft},
               {"strategy", Table::Align::kLeft},
               {"% right"},
               {"95 %"},
               {"forwards/case"},
               {"tokens/forward"},
               {"tokens/s"},
               {"", Table::Align::kLeft}});
  for (const Cell& cell : report.cells) {
    if (cell.group != group) continue;
    const std::string& strategy = report.grid.entries[cell.entry].strategy;
    const Measurement& m = cell.sum;
    if (m.nll_tokens > 0) {
      const eval::Interval interval = m.nats_interval();
      table.Row({cell.model, "", "", "", "", "", "",
                 fmt::format("{:.4f} nats per token (95 %: {:.4f} to {:.4f}), {} tokens",
                             m.nats_per_token(), interval.low, interval.high, m.nll_tokens)});
    } else if (!cell.refused.empty()) {
      table.Row(
          {cell.model, strategy, "", "", "", "", "", "refused: " + OneLine(cell.refused, 120)});
    } else {
      table.Row({cell.model, strategy, m.graded > 0 ? PercentText(m.accuracy()) : "",
                 m.graded > 0 ? IntervalText(m) : "", Short(m.forwards_per_case()),
                 Short(m.tokens_per_forward()), Short(m.tokens_per_second()),
                 ForwardsByKind(m.full, m.window, m.finalise)});
    }
  }
  return table.ToString();
}

std::string ByTaskTable(const GridReport& report, size_t group) {
  Table table({{"task", Table::Align::kLeft},
               {"model", Table::Align::kLeft},
               {"strategy", Table::Align::kLeft},
               {"% right"},
               {"strict"},
               {"95 %"},
               {"forwards/case"},
               {"tokens/forward"}});
  for (const std::string& task : report.grid.groups[group].tasks) {
    for (const Cell& cell : report.cells) {
      if (cell.group != group) continue;
      for (const eval::Row& row : cell.rows) {
        const Measurement& m = row.result;
        if (row.settings.task != task || m.graded == 0) continue;
        table.Row({task, cell.model, row.settings.strategy, PercentText(m.accuracy()),
                   PercentText(m.strict_accuracy()), IntervalText(m), Short(m.forwards_per_case()),
                   Short(m.tokens_per_forward())});
      }
    }
  }
  return table.ToString();
}

std::string CurveText(const GridReport& report) {
  std::string text;
  for (const eval::CurveScore& curve : report.curves) {
    if (curve.points < 2) continue;
    text += fmt::format("AUP of {} on {}: {:.0f} ({} points)\n", curve.curve,
                        report.grid.groups[curve.group].name, curve.aup, curve.points);
  }
  return text;
}

// A grid's name as part of a file's.
std::string FileWord(const std::string& name) {
  std::string word;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    word += plain ? c : '-';
  }
  return word;
}

}  // namespace

std::string ReportText(const std::vector<GridReport>& reports, bool by_task) {
  std::string text;
  for (const GridReport& report : reports) {
    if (reports.size() > 1) text += "== " + report.grid.name + "\n\n";
    for (size_t group = 0; group < report.grid.groups.size(); ++group) {
      int64_t cases = 0;
      for (const Cell& cell : report.cells) {
        if (cell.group == group) cases = std::max(cases, cell.sum.cases);
      }
      text += fmt::format("{}: {} cases\n{}\n", report.grid.groups[group].name, cases,
                          GroupTable(report, group));
      if (by_task) text += ByTaskTable(report, group) + "\n";
    }
    text += CurveText(report);
  }
  while (text.ends_with("\n\n")) text.pop_back();
  return text;
}

Json ReportJson(const std::vector<GridReport>& reports) {
  Json grids = Json::array();
  for (const GridReport& report : reports) grids.push_back(ToJson(report));
  return {{"version", api::Version()}, {"eval_version", eval::kEvalVersion}, {"grids", grids}};
}

std::string TaskListText(const std::vector<eval::TaskInfo>& tasks) {
  std::string text;
  for (const eval::TaskInfo& task : tasks) {
    text += fmt::format("{:<44}  {}\n", task.name,
                        task.refused.empty() ? task.help : "not here: " + task.refused);
  }
  return text;
}

Json TaskListJson(const std::vector<eval::TaskInfo>& tasks) {
  Json list = Json::array();
  for (const eval::TaskInfo& task : tasks) {
    list.push_back({{"name", task.name}, {"help", task.help}});
    list.back()["refused"] = task.refused.empty() ? Json(nullptr) : Json(task.refused);
  }
  return list;
}

Result<std::vector<std::string>> WriteSweepFiles(const std::vector<GridReport>& reports,
                                                 const std::string& prefix, SweepFiles which) {
  std::vector<std::string> charts;
  for (const GridReport& report : reports) {
    const std::string stem =
        reports.size() == 1 ? prefix : prefix + "-" + FileWord(report.grid.name);
    TESSERA_RETURN_IF_ERROR(eval::WriteWhole(stem + ".svg", eval::DrawChart(report)));
    charts.push_back(stem + ".svg");
    if (which == SweepFiles::kChartsOnly) continue;
    const Status png = eval::ConvertToPng(stem + ".svg", stem + ".png");
    if (!png.ok()) Complain(png.message());  // the chart itself is there
  }
  if (which == SweepFiles::kChartsOnly) return charts;
  TESSERA_RETURN_IF_ERROR(eval::WriteWhole(prefix + ".csv", eval::ToCsv(reports)));
  TESSERA_RETURN_IF_ERROR(eval::WriteWhole(prefix + ".json", ReportJson(reports).dump(2) + "\n"));
  return charts;
}

}  // namespace tessera::cli
