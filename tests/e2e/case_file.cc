#include "tests/e2e/case_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <stdexcept>

namespace tessera::e2e {
namespace {

using nlohmann::json;

const std::set<std::string> kExpectations = {
    "stdout", "!stdout",   "stderr",  "!stderr",      "stdout-is",   "lines",
    "json",   "json-type", "same-as", "differs-from", "stderr-lines"};

// "a b c" as "a" and "b c".
std::pair<std::string, std::string> CutWord(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return {std::string(text), ""};
  return {std::string(text.substr(0, space)), std::string(text.substr(space + 1))};
}

bool Found(const std::string& text, const std::string& pattern) {
  return std::regex_search(text, std::regex(pattern, std::regex::ECMAScript));
}

int64_t CountLines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n') +
         (text.empty() || text.ends_with('\n') ? 0 : 1);
}

std::string JsonProblem(const std::string& output, const std::string& argument, bool type_only) {
  const auto [pointer, wanted] = CutWord(argument);
  const json whole = json::parse(output, nullptr, /*allow_exceptions=*/false);
  if (whole.is_discarded()) return "the output is not JSON";
  const json::json_pointer at(pointer == "/" ? "" : pointer);
  if (!whole.contains(at)) return fmt::format("no {} in the output", pointer);
  const json& value = whole.at(at);
  if (type_only) {
    const std::string type = value.type_name();
    return type == wanted ? "" : fmt::format("{} is of type {}", pointer, type);
  }
  return value == json::parse(wanted) ? "" : fmt::format("{} is {}", pointer, value.dump());
}

std::string Problem(const Expectation& expectation, const Outcome& outcome,
                    const std::string& input, RunCommand run) {
  const auto& [kind, argument] = expectation;
  if (kind == "stdout") return Found(outcome.output, argument) ? "" : "not found in the output";
  if (kind == "!stdout") return Found(outcome.output, argument) ? "found in the output" : "";
  if (kind == "stderr") return Found(outcome.error, argument) ? "" : "not found in the errors";
  if (kind == "!stderr") return Found(outcome.error, argument) ? "found in the errors" : "";
  if (kind == "stdout-is") return outcome.output == Unescape(argument) ? "" : "another output";
  if (kind == "lines" || kind == "stderr-lines") {
    const int64_t lines = CountLines(kind == "lines" ? outcome.output : outcome.error);
    return lines == std::stoll(argument) ? "" : fmt::format("{} lines", lines);
  }
  if (kind == "json") return JsonProblem(outcome.output, argument, /*type_only=*/false);
  if (kind == "json-type") return JsonProblem(outcome.output, argument, /*type_only=*/true);
  const Outcome other = run(argument, input);
  if (other.exit_code != 0) return "the other command failed: " + other.error;
  const bool same = other.output == outcome.output;
  if (kind == "same-as") return same ? "" : "the other output is:\n" + other.output;
  return same ? "the outputs are the same" : "";
}

bool Expects(const CliCase& c, std::string_view kind) {
  return std::any_of(c.expectations.begin(), c.expectations.end(),
                     [&](const Expectation& expectation) { return expectation.kind == kind; });
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const CliCase& c) {
  return out << c.file << ":" << c.line;
}

std::vector<CliCase> ParseCaseFile(std::string_view text, const std::string& file) {
  std::vector<CliCase> cases;
  std::set<std::string> names;
  int number = 0;
  const auto fail = [&](const std::string& what) {
    throw std::runtime_error(fmt::format("{}:{}: {}", file, number, what));
  };
  while (!text.empty()) {
    ++number;
    const size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    if (line.empty() || line[0] == '#') continue;
    auto [word, rest] = CutWord(line);
    if (word == "case") {
      if (rest.empty() || !names.insert(rest).second) fail("a case needs a name of its own");
      if (!cases.empty() && cases.back().command.empty()) fail("the case before has no run line");
      CliCase c;
      c.file = file;
      c.name = rest;
      c.line = number;
      cases.push_back(std::move(c));
      continue;
    }
    if (cases.empty()) fail("a file begins with a case line");
    CliCase& c = cases.back();
    if (word == "run" && c.command.empty() && !rest.empty()) {
      c.command = rest;
    } else if (word == "needs" && !rest.empty()) {
      c.needs.push_back(rest);
    } else if (word == "stdin") {
      c.input = Unescape(rest);
    } else if (word == "exit" && !rest.empty()) {
      c.exit_code = std::stoi(rest);
    } else if (kExpectations.count(word) > 0 && !rest.empty()) {
      c.expectations.push_back({.kind = word, .argument = rest});
    } else {
      fail("unknown or empty line: " + std::string(line));
    }
  }
  if (cases.empty() || cases.back().command.empty()) fail("the last case has no run line");
  return cases;
}

std::vector<std::string> Problems(const CliCase& c, const Outcome& outcome, RunCommand run) {
  std::vector<std::string> problems;
  if (outcome.exit_code != c.exit_code) {
    problems.push_back(fmt::format("exit code {}, expected {}", outcome.exit_code, c.exit_code));
  }
  if (c.exit_code != 0) {
    if (!Expects(c, "stderr-lines") &&
        (!outcome.error.starts_with("tessera: ") || CountLines(outcome.error) != 1)) {
      problems.push_back("the error is not one line that begins with 'tessera: '");
    }
    if (!Expects(c, "stdout") && !Expects(c, "stdout-is") && !outcome.output.empty()) {
      problems.push_back("a command that failed wrote to the output");
    }
  }
  for (const Expectation& expectation : c.expectations) {
    const std::string problem = Problem(expectation, outcome, c.input, run);
    if (!problem.empty()) {
      problems.push_back(fmt::format("{} {}: {}", expectation.kind, expectation.argument, problem));
    }
  }
  return problems;
}

std::string Unescape(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      result += text[i];
      continue;
    }
    const char c = text[++i];
    if (c == 'n') {
      result += '\n';
    } else if (c == 't') {
      result += '\t';
    } else if (c == 'x' && i + 2 < text.size()) {
      result += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace tessera::e2e
