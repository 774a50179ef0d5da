#include "apps/eval/row.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <type_traits>

#include "apps/eval/errors.h"
#include "apps/eval/fingerprint.h"

namespace tessera::eval {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Json = nlohmann::ordered_json;

// The fields of a row in JSON; writing and reading share these lists. Of results, fields that are 0
// or false are not written.
template <typename Visit>
void VisitSettings(RowSettings& s, const Visit& visit) {
  visit("version", s.version);
  visit("model", s.model);
  visit("model_hash", s.model_hash);
  visit("dtype", s.dtype);
  visit("device", s.device);
  visit("strategy", s.strategy);
  visit("task", s.task);
  visit("cases_hash", s.cases_hash);
  visit("cases", s.cases);
  visit("batch", s.batch);
  visit("max_tokens", s.max_tokens);
  visit("temperature", s.temperature);
  visit("seed", s.seed);
}

template <typename Visit>
void VisitResult(Measurement& m, const Visit& visit) {
  visit("run", m.cases);
  visit("graded", m.graded);
  visit("score", m.score);
  visit("score_squares", m.score_squares);
  visit("strict", m.strict);
  visit("partial_scores", m.partial_scores);
  visit("tokens", m.tokens);
  visit("full", m.full);
  visit("window", m.window);
  visit("finalise", m.finalise);
  visit("rows", m.rows);
  visit("drafted", m.drafted);
  visit("accepted", m.accepted);
  visit("reused", m.reused);
  visit("probes", m.probes);
  visit("revisions", m.revisions);
  visit("drift_forwards", m.drift_forwards);
  visit("drift_sum", m.drift_sum);
  visit("seconds", m.seconds);
}

template <typename Visit>
void VisitLikelihood(Measurement& m, const Visit& visit) {
  visit("nll_tokens", m.nll_tokens);
  visit("nll", m.nll);
  visit("nll_squares", m.nll_squares);
  visit("nll_by_tokens", m.nll_by_tokens);
  visit("tokens_squares", m.tokens_squares);
}

bool Take(const json& value, std::string* out) {
  if (value.is_string()) *out = value.get<std::string>();
  return value.is_string();
}
bool Take(const json& value, bool* out) {
  if (value.is_boolean()) *out = value.get<bool>();
  return value.is_boolean();
}
bool Take(const json& value, double* out) {
  if (!value.is_number()) return false;
  *out = value.get<double>();
  return std::isfinite(*out) && *out >= 0;
}
bool Take(const json& value, int64_t* out) {
  const bool fits = value.is_number_integer() && value >= 0 && value <= (int64_t{1} << 53);
  if (fits) *out = value.get<int64_t>();
  return fits;
}
bool Take(const json& value, uint64_t* out) {
  if (value.is_number_unsigned()) *out = value.get<uint64_t>();
  return value.is_number_unsigned();
}

}  // namespace

std::string HashOfCases(const std::vector<Case>& cases) {
  Fingerprint fingerprint;
  for (const Case& c : cases) {
    fingerprint.Add(c.task).Add(c.answer).Add(c.grader).Add(c.meta.dump());
    for (const api::Message& message : c.messages) {
      fingerprint.Add(message.role).Add(message.content);
    }
    for (const std::string& part : c.parts) fingerprint.Add(part);
  }
  return fingerprint.text();
}

Json ToJson(const Row& row) {
  Json out;
  Row copy = row;
  VisitSettings(copy.settings, [&](const char* name, const auto& value) { out[name] = value; });
  const auto put = [&](const char* name, const auto& value) {
    if (value != std::decay_t<decltype(value)>()) out[name] = value;
  };
  if (!row.refused.empty()) {
    out["refused"] = row.refused;
    return out;
  }
  VisitResult(copy.result, put);
  VisitLikelihood(copy.result, put);
  if (!row.machine.empty()) out["machine"] = row.machine;
  return out;
}

Result<Row> RowFromJson(const json& value) {
  if (!value.is_object()) return BadData("not a JSON object");
  Row row;
  std::string wrong;
  const auto take = [&](const char* name, auto& field) {
    if (wrong.empty() && (!value.contains(name) || !Take(value[name], &field))) wrong = name;
  };
  VisitSettings(row.settings, take);
  const auto take_if_there = [&](const char* name, auto& field) {
    if (value.contains(name)) take(name, field);
  };
  if (value.contains("refused")) {
    take("refused", row.refused);
    if (wrong.empty() && row.refused.empty()) wrong = "refused";
  } else {
    take("run", row.result.cases);  // what every result has, at least 1
    if (wrong.empty() && row.result.cases == 0) wrong = "run";
    VisitResult(row.result, take_if_there);
    VisitLikelihood(row.result, take_if_there);
  }
  if (value.contains("machine")) take("machine", row.machine);
  if (!wrong.empty()) return BadData("'{}' is missing or of the wrong type, or empty", wrong);
  return row;
}

Result<std::vector<Row>> ReadRows(const std::string& path) {
  std::vector<Row> rows;
  std::error_code error;
  if (!fs::exists(path, error)) return rows;
  TESSERA_ASSIGN_OR_RETURN(const std::string text, ReadText(path, "rows of an earlier run"));
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  const auto add = [&](std::string_view line, int number) -> Status {
    Result<Row> row = RowFromJson(json::parse(line, nullptr, /*allow_exceptions=*/false));
    if (!row.ok()) {
      return row.status().WithContext(fmt::format(
          "{}:{}: no row of an evaluation; name another file, or remove it", path, number));
    }
    rows.push_back(*std::move(row));
    return OkStatus();
  };
  TESSERA_RETURN_IF_ERROR(ForEachLine(std::string_view(text).substr(0, whole), add));
  if (whole < text.size()) {
    fs::resize_file(path, whole, error);
    if (error) return Missing("{}: cannot be written: {}", path, error.message());
  }
  return rows;
}

Status AppendRow(const std::string& path, const Row& row) {
  std::ofstream file(path, std::ios::binary | std::ios::app);
  file << ToJson(row).dump() << '\n';
  file.flush();
  return file ? OkStatus() : Missing("{}: cannot be written", path);
}

Status WriteWhole(const std::string& path, std::string_view text) {
  const std::string draft = path + ".new";
  {
    std::ofstream file(draft, std::ios::binary | std::ios::trunc);
    file << text;
    file.flush();
    if (!file) return Missing("{}: cannot be written", draft);
  }
  std::error_code error;
  fs::rename(draft, path, error);
  return error ? Missing("{}: cannot be written: {}", path, error.message()) : OkStatus();
}

Status WriteRows(const std::string& path, const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows) text += ToJson(row).dump() + "\n";
  return WriteWhole(path, text);
}

const Row* FindRow(const std::vector<Row>& rows, const RowSettings& settings) {
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
    if (row->settings == settings) return &*row;
  }
  return nullptr;
}

}  // namespace tessera::eval
