#include "apps/eval/sweep.h"

#include <algorithm>

#include "apps/eval/errors.h"

namespace tessera::eval {
namespace {

constexpr size_t kMaxRows = 10'000;    // more is a slip of the keyboard, not a plan
constexpr size_t kMaxStrategy = 1000;  // bytes

class SweepParser {
 public:
  Status Item(std::string_view item) {
    const size_t space = std::min(item.find_first_of(" \t"), item.size());
    const std::string key(item.substr(0, space));
    const std::string value(Strip(item.substr(space)));
    if (value.empty()) return BadRequest("'{}' needs a value", Quote(key));
    if (key == "grid") return Grid(value);
    if (key == "limit") return Count(value, 0, 1'000'000, &Settings().limit);
    if (key == "batch") return Count(value, 1, 4096, &Settings().batch);
    if (key == "max-tokens") return Count(value, 1, 1 << 20, &Settings().max_tokens);
    if (key == "seed") {
      int64_t seed = 0;
      TESSERA_RETURN_IF_ERROR(Count(value, 0, int64_t{1} << 53, &seed));
      Settings().seed = static_cast<uint64_t>(seed);
      return OkStatus();
    }
    if (key == "temperature") return Temperature(value);
    if (key == "task") return Task(value);
    if (key == "model") return Model(value);
    if (key == "curve") return Curve(value);
    if (key == "strategy") return Strategy(value);
    if (key == "note") {
      Here().notes.push_back(value);
      return OkStatus();
    }
    if (key == "against") {
      Here().against = value;
      return OkStatus();
    }
    if (key == "target") return Target(value);
    if (key == "reason") {
      if (Here().targets.empty()) return BadRequest("'reason' stands after a target");
      Here().targets.back().reason = value;
      return OkStatus();
    }
    if (key == "limits") {
      if (value != "on" && value != "off") return BadRequest("limits: accepted: on, off");
      Here().limits = value == "on";
      return OkStatus();
    }
    return BadRequest(
        "'{}'; accepted: grid, limit, batch, max-tokens, seed, temperature, task, model, curve, "
        "strategy, note, limits, against, target, reason",
        Quote(key));
  }

  Result<Sweep> Finish() {
    if (sweep_.grids.empty()) return BadRequest("no strategy; accepted: a line `strategy TEXT`");
    for (const SweepGrid& grid : sweep_.grids) {
      if (grid.groups.empty()) return BadRequest("grid '{}' has no task", Quote(grid.name));
      if (grid.entries.empty()) return BadRequest("grid '{}' has no strategy", Quote(grid.name));
    }
    return std::move(sweep_);
  }

 private:
  // The grid at hand; a sweep of one grid need not name it.
  SweepGrid& Here() {
    if (sweep_.grids.empty()) {
      sweep_.grids.emplace_back();
      sweep_.grids.back().name = "sweep";
      sweep_.grids.back().settings = common_;
    }
    return sweep_.grids.back();
  }
  SweepSettings& Settings() {
    return sweep_.grids.empty() ? common_ : sweep_.grids.back().settings;
  }

  Status Grid(const std::string& name) {
    for (const SweepGrid& grid : sweep_.grids) {
      if (grid.name == name) return BadRequest("a second grid '{}'", Quote(name));
    }
    sweep_.grids.emplace_back();
    sweep_.grids.back().name = name;
    sweep_.grids.back().settings = common_;
    model_.clear();
    curve_.clear();
    return OkStatus();
  }

  static Status Count(const std::string& text, int64_t min, int64_t max, int64_t* value) {
    if (ParseCount(text, min, max, value)) return OkStatus();
    return BadRequest("got '{}', accepted: an integer, {}..{}", Quote(text), min, max);
  }

  Status Temperature(const std::string& text) {
    double value = 0;
    if (!ParseNumber(text, &value) || value < 0 || value > 100) {
      return BadRequest("got '{}', accepted: a number, 0..100", Quote(text));
    }
    Settings().temperature = value;
    return OkStatus();
  }

  // "name=a,b" or "a": one group per word.
  Status Task(const std::string& value) {
    for (const std::string& word : Words(value)) {
      const size_t equals = word.find('=');
      SweepGroup group{.name = word.substr(0, equals), .tasks = {}};
      const std::string tasks = equals == std::string::npos ? word : word.substr(equals + 1);
      for (const std::string& task : Split(tasks, ",")) {
        if (task.empty()) return BadRequest("task '{}': an empty name", Quote(word));
        group.tasks.push_back(task);
      }
      for (const SweepGroup& other : Here().groups) {
        if (other.name == group.name)
          return BadRequest("a second task group '{}'", Quote(group.name));
      }
      Here().groups.push_back(std::move(group));
    }
    return OkStatus();
  }

  Status Model(const std::string& value) {
    model_ = value;
    curve_.clear();
    return OkStatus();
  }
  Status Curve(const std::string& value) {
    curve_ = value;
    return OkStatus();
  }

  Status Strategy(const std::string& value) {
    TESSERA_ASSIGN_OR_RETURN(const Strings texts, ExpandBraces(value));
    for (const std::string& text : texts) {
      const SweepEntry entry{.model = model_, .curve = curve_, .strategy = text};
      for (const SweepEntry& other : Here().entries) {
        if (other.model == entry.model && other.strategy == text) {
          return BadRequest("strategy '{}' for the second time", Quote(text));
        }
      }
      Here().entries.push_back(entry);
    }
    return OkStatus();
  }

  Status Target(const std::string& value) {
    Strings fields;
    for (const std::string& field : Split(value, "|")) fields.emplace_back(Strip(field));
    const Strings measure = fields.size() < 5 ? Strings() : Words(fields[2]);
    if (measure.size() != 2) {
      return BadRequest("target '{}'; accepted: NAME | GROUP | MEASURE FACTOR | LIMIT | CURVE ...",
                        Quote(value));
    }
    SweepTarget target{.name = fields[0], .group = fields[1], .curves = {}, .reason = ""};
    target.curves.assign(fields.begin() + 4, fields.end());
    using Measure = SweepTarget::Measure;
    constexpr std::pair<std::string_view, Measure> kMeasures[] = {
        {"forwards", Measure::kForwards},
        {"tokens/s", Measure::kTokensPerSecond},
        {"against", Measure::kAgainst},
        {"recovered", Measure::kRecovered}};
    const auto* const known = std::find_if(std::begin(kMeasures), std::end(kMeasures),
                                           [&](const auto& m) { return m.first == measure[0]; });
    if (known == std::end(kMeasures)) {
      return BadRequest("target: measure '{}'; accepted: forwards, tokens/s, against, recovered",
                        Quote(measure[0]));
    }
    target.measure = known->second;
    const bool by_points =
        target.measure == Measure::kForwards || target.measure == Measure::kTokensPerSecond;
    if (!ParseNumber(measure[1], &target.factor) ||
        (by_points && !ParseNumber(fields[3], &target.points))) {
      return BadRequest("target '{}': accepted: numbers as factor and points", Quote(value));
    }
    if (!by_points) target.reference = fields[3];
    const auto& groups = Here().groups;
    if (std::none_of(groups.begin(), groups.end(),
                     [&](const SweepGroup& group) { return group.name == target.group; })) {
      return BadRequest("target: no task group '{}' above it", Quote(target.group));
    }
    Here().targets.push_back(std::move(target));
    return OkStatus();
  }

  SweepSettings common_;
  Sweep sweep_;
  std::string model_, curve_;
};

}  // namespace

Result<Strings> ExpandBraces(const std::string& text) {
  Strings done = {""};
  std::string_view rest = text;
  if (text.size() > kMaxStrategy) {
    return BadRequest("'{}': {} bytes, accepted: up to {}", Quote(text), text.size(), kMaxStrategy);
  }
  while (!rest.empty()) {
    const size_t open = std::min(rest.find('{'), rest.size());
    const std::string_view plain = rest.substr(0, open);
    if (plain.find('}') != std::string_view::npos) {
      return BadRequest("'{}': a '}}' without its '{{'", Quote(text));
    }
    for (std::string& prefix : done) prefix += plain;
    rest.remove_prefix(open);
    if (rest.empty()) break;
    const size_t close = rest.find('}');
    const std::string_view inside = rest.substr(1, close == rest.npos ? 0 : close - 1);
    if (close == rest.npos || inside.empty() || inside.find('{') != inside.npos) {
      return BadRequest("'{}': accepted in braces: choices separated by commas", Quote(text));
    }
    rest.remove_prefix(close + 1);
    Strings longer;
    const Strings choices = Split(inside, ",");
    if (done.size() * choices.size() > kMaxRows) {
      return BadRequest("'{}': more than {} rows", Quote(text), kMaxRows);
    }
    for (const std::string& prefix : done) {
      for (const std::string& choice : choices) longer.push_back(prefix + choice);
    }
    done = std::move(longer);
  }
  return done;
}

Result<Sweep> ParseSweep(std::string_view text, const std::string& name) {
  SweepParser parser;
  const auto read = [&](std::string_view line, int number) -> Status {
    const bool prose = Strip(line).starts_with("note ") || Strip(line).starts_with("reason ");
    // Prose may hold ; and #.
    if (!prose) line = line.substr(0, line.find('#'));
    for (const std::string& item : prose ? Strings{std::string(line)} : Split(line, ";")) {
      if (Strip(item).empty()) continue;
      const Status status = parser.Item(Strip(item));
      if (!status.ok()) return status.WithContext(fmt::format("{}:{}", name, number));
    }
    return OkStatus();
  };
  TESSERA_RETURN_IF_ERROR(ForEachLine(text, read));
  Result<Sweep> sweep = parser.Finish();
  return sweep.ok() ? std::move(sweep) : sweep.status().WithContext(name);
}

}  // namespace tessera::eval
