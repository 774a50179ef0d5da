// One row of an evaluation: what was run, exactly, and what came out. Rows are JSON lines; a file
// of them is the memory of a sweep.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "apps/eval/runner.h"

namespace tessera::eval {

// Raised whenever a task, grader or generator changes what a row means.
inline constexpr int kEvalVersion = 1;

// Rows with equal settings have equal outcomes, their times aside.
struct RowSettings {
  std::string version;  // of tessera, then of the tasks: "0.1.0/1"
  std::string model;    // last part of its path
  std::string model_hash, dtype, device;
  std::string strategy, task;
  std::string cases_hash;  // of the cases themselves
  int64_t cases = 0, batch = 0, max_tokens = 0;
  double temperature = 0;
  uint64_t seed = 0;

  bool operator==(const RowSettings&) const = default;
};

struct Row {
  RowSettings settings;
  Measurement result;
  std::string refused;  // why it could not be run; then there is no result
  std::string machine;  // processor, for the times
};

std::string HashOfCases(const std::vector<Case>& cases);

nlohmann::ordered_json ToJson(const Row& row);
// Errors say what is missing or of the wrong type.
Result<Row> RowFromJson(const nlohmann::json& json);

// Reads a file of rows; a missing file has none. A last line that a killed run left unfinished is
// dropped and cut off, any other bad line is an error that names it.
Result<std::vector<Row>> ReadRows(const std::string& path);
// Appends one line, flushed before this returns.
Status AppendRow(const std::string& path, const Row& row);
// Replaces the file at once: readers see the old rows or the new ones.
Status WriteRows(const std::string& path, const std::vector<Row>& rows);
// Writes a whole file the same way.
Status WriteWhole(const std::string& path, std::string_view text);

// The row with these settings, the last if there are several; null when there is none.
const Row* FindRow(const std::vector<Row>& rows, const RowSettings& settings);

}  // namespace tessera::eval
