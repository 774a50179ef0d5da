// From rows to what people and programs read: pooled groups, curves, CSV and JSON.
#pragma once

#include <string>
#include <vector>

#include "apps/eval/row.h"
#include "apps/eval/sweep.h"

namespace tessera::eval {

// One strategy on one task group.
struct Cell {
  size_t entry = 0, group = 0;  // of the grid
  std::string model;            // name, also where the sweep says "the default"
  std::vector<Row> rows;        // one per task that has a row
  Measurement sum;
  size_t missing = 0;   // tasks that have no row yet
  std::string refused;  // the first reason, if any task was refused; then there is no sum: figures
                        // over fewer tasks would not compare
  bool complete() const { return refused.empty() && missing == 0; }
};

struct CurveScore {
  size_t group = 0;
  std::string model, curve;
  int points = 0;
  double aup = 0;
};

struct GridReport {
  SweepGrid grid;           // groups with their tasks expanded
  std::vector<Cell> cells;  // by group, then by entry
  std::vector<CurveScore> curves;

  const Cell* Find(size_t group, size_t entry) const;
  // The first entry of the same model: what others are compared with.
  const Cell* BaselineOf(const Cell& cell) const;
  // The name that a cell's curve goes by.
  std::string CurveOf(const Cell& cell) const;
};

// `rows` in the order they were made: the last of each question counts. Questions are equal when
// all settings are but version, hashes, dtype and device. `names`: model names by entry.
GridReport MakeReport(const SweepGrid& grid, const std::vector<Row>& rows, const Strings& names);
bool IsSameQuestion(const RowSettings& a, const RowSettings& b);
// What a grid asks of a strategy on a task, without what only a loaded model knows.
RowSettings QuestionOf(const SweepSettings& settings, const std::string& model,
                       const std::string& strategy, const std::string& task);

nlohmann::ordered_json ToJson(const GridReport& report);
// A line per cell and one per task of it; the title line first.
std::string ToCsv(const std::vector<GridReport>& reports);

}  // namespace tessera::eval
