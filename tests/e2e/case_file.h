// Cases of the command line as text; README.md describes the format. Refuses lines it does not
// know, so that no expectation is silently dropped.
#pragma once

#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::e2e {

struct Expectation {
  std::string kind;      // "stdout", "!stderr", "json", ...
  std::string argument;  // as written
};

struct CliCase {
  std::string file, name;
  int line = 0;
  std::string command, input;
  std::vector<std::string> needs;  // paths of the repository
  int exit_code = 0;
  std::vector<Expectation> expectations;
  std::string unreadable;  // why the file is no case file; then nothing else is set
};

// For GoogleTest's messages.
std::ostream& operator<<(std::ostream& out, const CliCase& c);

// Throws std::runtime_error naming file and line.
std::vector<CliCase> ParseCaseFile(std::string_view text, const std::string& file);

// What a command did.
struct Outcome {
  int exit_code = 0;  // 128 + signal when killed
  std::string output, error;
};

using RunCommand = Outcome (*)(const std::string& command, const std::string& input);

// Every expectation that the outcome fails, in words; `run` is for comparisons with other commands.
std::vector<std::string> Problems(const CliCase& c, const Outcome& outcome, RunCommand run);

// C escapes.
std::string Unescape(std::string_view text);

}  // namespace tessera::e2e
