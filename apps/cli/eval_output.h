// What tessera eval shows and writes.
#pragma once

#include <string>
#include <vector>

#include "apps/cli/json_output.h"
#include "apps/eval/report.h"
#include "apps/eval/tasks.h"

namespace tessera::cli {

// One table per task group: quality, cost, speed. `by_task`: also accuracy by task.
std::string ReportText(const std::vector<eval::GridReport>& reports, bool by_task);
Json ReportJson(const std::vector<eval::GridReport>& reports);
// Every task and what it is, or why it cannot be run.
std::string TaskListText(const std::vector<eval::TaskInfo>& tasks);
Json TaskListJson(const std::vector<eval::TaskInfo>& tasks);

// Files beside the rows of a sweep: PREFIX.csv, PREFIX.json and a chart per grid, named
// PREFIX.svg when there is one grid and PREFIX-GRID.svg otherwise. Returns the charts.
enum class SweepFiles { kAll, kChartsOnly };
Result<std::vector<std::string>> WriteSweepFiles(const std::vector<eval::GridReport>& reports,
                                                 const std::string& prefix, SweepFiles which);

}  // namespace tessera::cli
