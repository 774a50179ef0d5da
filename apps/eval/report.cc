#include "apps/eval/report.h"

#include <algorithm>

#include "apps/eval/errors.h"

namespace tessera::eval {
namespace {

using Json = nlohmann::ordered_json;

Json Numbers(const Measurement& m) {
  Json out = {{"cases", m.cases}};
  if (m.graded > 0) {
    const Interval interval = m.accuracy_interval();
    out["accuracy"] = m.accuracy();
    out["accuracy_low"] = interval.low;
    out["accuracy_high"] = interval.high;
    out["strict_accuracy"] = m.strict_accuracy();
  }
  if (m.nll_tokens > 0) {
    const Interval interval = m.nats_interval();
    out["nats_per_token"] = m.nats_per_token();
    out["nats_low"] = interval.low;
    out["nats_high"] = interval.high;
    return out;
  }
  out["tokens"] = m.tokens;
  out["forwards"] = {
      {"total", m.forwards()}, {"full", m.full}, {"window", m.window}, {"finalise", m.finalise}};
  out["forwards_per_case"] = m.forwards_per_case();
  out["tokens_per_forward"] = m.tokens_per_forward();
  out["tokens_per_second"] = m.tokens_per_second();
  out["rows"] = m.rows;
  out["rows_per_token"] = m.rows_per_token();
  out["reused_rows"] = m.reused;
  out["revisions"] = m.revisions;
  if (m.drift_forwards > 0) out["drift"] = m.drift();
  out["drafted"] = m.drafted;
  out["accepted"] = m.accepted;
  out["seconds"] = m.seconds;
  return out;
}

// A field of a CSV line; quoted when it must be.
std::string Field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string CsvLine(const Strings& names, const Measurement& m, const std::string& refused) {
  Strings fields;
  for (const std::string& name : names) fields.push_back(Field(name));
  const auto add = [&](double value) { fields.push_back(fmt::format("{:.6g}", value)); };
  const auto count = [&](int64_t value) { fields.push_back(std::to_string(value)); };
  count(m.cases);
  const Interval interval = m.accuracy_interval();
  const bool graded = m.graded > 0;
  for (const double value : {m.accuracy(), interval.low, interval.high, m.strict_accuracy()}) {
    fields.push_back(graded ? fmt::format("{:.6g}", value) : "");
  }
  count(m.tokens), count(m.forwards()), count(m.full), count(m.window), count(m.finalise);
  add(m.forwards_per_case()), add(m.tokens_per_forward()), add(m.tokens_per_second());
  add(m.seconds);
  fields.push_back(m.nll_tokens > 0 ? fmt::format("{:.6g}", m.nats_per_token()) : "");
  fields.push_back(Field(refused));
  return fmt::format("{}\n", fmt::join(fields, ","));
}

// The curves of one group, once its cells are there.
void AddCurves(size_t group, GridReport* report) {
  double best = 0;
  std::vector<std::pair<CurveScore, std::vector<CurvePoint>>> curves;
  for (const Cell& cell : report->cells) {
    if (cell.group != group || cell.sum.graded == 0) continue;
    best = std::max(best, cell.sum.accuracy());
    const std::string curve = report->CurveOf(cell);
    auto it = std::find_if(curves.begin(), curves.end(), [&](const auto& known) {
      return known.first.curve == curve && known.first.model == cell.model;
    });
    if (it == curves.end()) {
      curves.push_back({{.group = group, .model = cell.model, .curve = curve}, {}});
      it = curves.end() - 1;
    }
    it->second.push_back(
        {.tokens_per_forward = cell.sum.tokens_per_forward(), .accuracy = cell.sum.accuracy()});
  }
  for (auto& [score, points] : curves) {
    score.points = static_cast<int>(points.size());
    score.aup = Aup(points, best);
    report->curves.push_back(score);
  }
}

}  // namespace

const Cell* GridReport::Find(size_t group, size_t entry) const {
  for (const Cell& cell : cells) {
    if (cell.group == group && cell.entry == entry) return &cell;
  }
  return nullptr;
}

const Cell* GridReport::BaselineOf(const Cell& cell) const {
  for (size_t entry = 0; entry < grid.entries.size(); ++entry) {
    if (grid.entries[entry].model == grid.entries[cell.entry].model) return Find(cell.group, entry);
  }
  return nullptr;
}

std::string GridReport::CurveOf(const Cell& cell) const {
  const SweepEntry& entry = grid.entries[cell.entry];
  return entry.curve.empty() ? entry.strategy : entry.curve;
}

bool IsSameQuestion(const RowSettings& a, const RowSettings& b) {
  return a.model == b.model && a.strategy == b.strategy && a.task == b.task && a.cases == b.cases &&
         a.batch == b.batch && a.max_tokens == b.max_tokens && a.temperature == b.temperature &&
         a.seed == b.seed;
}

RowSettings QuestionOf(const SweepSettings& settings, const std::string& model,
                       const std::string& strategy, const std::string& task) {
  RowSettings question;
  question.model = model;
  question.strategy = strategy;
  question.task = task;
  question.cases = settings.limit;
  question.batch = settings.batch;
  question.max_tokens = settings.max_tokens;
  question.temperature = settings.temperature;
  question.seed = settings.seed;
  return question;
}

GridReport MakeReport(const SweepGrid& grid, const std::vector<Row>& rows, const Strings& names) {
  GridReport report{.grid = grid, .cells = {}, .curves = {}};
  for (size_t group = 0; group < grid.groups.size(); ++group) {
    for (size_t entry = 0; entry < grid.entries.size(); ++entry) {
      Cell cell{.entry = entry,
                .group = group,
                .model = names[entry],
                .rows = {},
                .sum = {},
                .refused = ""};
      for (const std::string& task : grid.groups[group].tasks) {
        const Row* found = nullptr;
        const RowSettings question =
            QuestionOf(grid.settings, names[entry], grid.entries[entry].strategy, task);
        for (const Row& row : rows) {
          if (IsSameQuestion(row.settings, question)) found = &row;
        }
        if (found == nullptr) {
          ++cell.missing;
          continue;
        }
        if (!found->refused.empty()) {
          if (cell.refused.empty()) cell.refused = found->refused;
          continue;
        }
        cell.sum.Add(found->result);
        cell.rows.push_back(*found);
      }
      if (!cell.refused.empty()) cell.sum = {};
      if (!cell.rows.empty() || !cell.refused.empty()) report.cells.push_back(std::move(cell));
    }
    AddCurves(group, &report);
  }
  return report;
}

Json ToJson(const GridReport& report) {
  const SweepSettings& s = report.grid.settings;
  Json out = {{"grid", report.grid.name},
              {"settings",
               {{"limit", s.limit},
                {"batch", s.batch},
                {"max_tokens", s.max_tokens},
                {"seed", s.seed},
                {"temperature", s.temperature}}},
              {"rows", Json::array()},
              {"curves", Json::array()}};
  for (const Cell& cell : report.cells) {
    Json row = {{"group", report.grid.groups[cell.group].name},
                {"model", cell.model},
                {"curve", report.CurveOf(cell)},
                {"strategy", report.grid.entries[cell.entry].strategy}};
    if (!cell.refused.empty()) row["refused"] = cell.refused;
    if (cell.missing > 0) row["missing_tasks"] = cell.missing;
    if (cell.refused.empty()) row.update(Numbers(cell.sum));
    Json tasks = Json::object();
    for (const Row& part : cell.rows) tasks[part.settings.task] = Numbers(part.result);
    row["tasks"] = tasks;
    out["rows"].push_back(row);
  }
  for (const CurveScore& curve : report.curves) {
    out["curves"].push_back({{"group", report.grid.groups[curve.group].name},
                             {"model", curve.model},
                             {"curve", curve.curve},
                             {"points", curve.points},
                             {"aup", curve.aup}});
  }
  return out;
}

std::string ToCsv(const std::vector<GridReport>& reports) {
  std::string text =
      "grid,group,task,model,curve,strategy,cases,accuracy,accuracy_low,accuracy_high,"
      "strict_accuracy,tokens,forwards,full,window,finalise,forwards_per_case,tokens_per_forward,"
      "tokens_per_second,seconds,nats_per_token,refused\n";
  for (const GridReport& report : reports) {
    for (const Cell& cell : report.cells) {
      const std::string& group = report.grid.groups[cell.group].name;
      const SweepEntry& entry = report.grid.entries[cell.entry];
      const auto names = [&](const std::string& task) {
        return Strings{report.grid.name,     group,         task, cell.model,
                       report.CurveOf(cell), entry.strategy};
      };
      text += CsvLine(names(""), cell.sum, cell.refused);
      for (const Row& row : cell.rows) text += CsvLine(names(row.settings.task), row.result, "");
    }
  }
  return text;
}

}  // namespace tessera::eval
