// A command's options: typed values with ranges, a help page with examples, one-line errors that
// say what is accepted. CLI11 stays behind this header; it takes seconds to compile.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/cli/command.h"
#include "tessera/api/model.h"

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
class Option;
class ParseError;
}  // namespace CLI

namespace tessera::cli {

// An option that was added to a Parser, which must outlive it.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}
  Option Required() const;
  Option Excludes(Option other) const;  // at most one of the two may be given
  bool given() const;

 private:
  CLI::Option* option_;
};

class Parser {
 public:
  Parser(const std::string& command, const std::string& summary);
  ~Parser();

  // `names`: "-n,--max-tokens". Of an option given twice the last value counts.
  Option Text(const std::string& names, std::string* value, const std::string& placeholder,
              const std::string& help);
  Option Texts(const std::string& names, std::vector<std::string>* values,
               const std::string& placeholder, const std::string& help);
  Option Int(const std::string& names, int32_t* value, int64_t min, int64_t max,
             const std::string& help);
  Option Long(const std::string& names, int64_t* value, int64_t min, int64_t max,
              const std::string& help);
  Option Float(const std::string& names, float* value, float min, float max,
               const std::string& help);
  Option Seed(uint64_t* value, const std::string& help);
  Option Choice(const std::string& names, std::string* value,
                const std::vector<std::string>& accepted, const std::string& help);
  Option Flag(const std::string& names, bool* value, const std::string& help);
  Option Positional(const std::string& name, std::string* value, const std::string& help);

  // Options added from here on stand under this heading of the help page.
  void Group(const std::string& heading) { group_ = heading; }
  // Text after the options: examples, longer explanations.
  void Footer(const std::string& text);

  // False when the help page was printed instead and nothing is left to do.
  Result<bool> Parse(const Args& args);

 private:
  Option Add(CLI::Option* option, const std::string& placeholder);
  Status Explain(const CLI::ParseError& error) const;

  std::unique_ptr<CLI::App> app_;
  std::string command_;
  std::string group_ = "Options";
};

}  // namespace tessera::cli
