// Options of strategies and policies as data: one table per member feeds parsing, validation,
// help texts and documentation.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tessera/base/status.h"

namespace tessera::decode {

using OptionValue = std::variant<int64_t, double, bool, std::string>;

struct OptionSpec {
  std::string name;
  OptionValue default_value;  // its type is the option's type
  double min = 0;             // numbers: accepted range, both ends included
  double max = 0;
  std::vector<std::string> choices;  // strings: accepted values; empty = any
  std::string help;
};

OptionSpec IntOption(std::string name, int64_t value, int64_t min, int64_t max, std::string help);
OptionSpec FloatOption(std::string name, double value, double min, double max, std::string help);
OptionSpec BoolOption(std::string name, bool value, std::string help);
OptionSpec ChoiceOption(std::string name, std::string value, std::vector<std::string> choices,
                        std::string help);
OptionSpec TextOption(std::string name, std::string value, std::string help);

// "0..1", "on|off", "a|b|c": what the option accepts.
std::string AcceptedValues(const OptionSpec& spec);
std::string ToString(const OptionValue& value);

// Validated values of one member's options.
class Options {
 public:
  explicit Options(const std::vector<OptionSpec>& specs);

  // Parses `text` for the option `name` of `specs`; the error names option and accepted values.
  Status Set(const std::vector<OptionSpec>& specs, std::string_view name, std::string_view text);

  int64_t Int(const std::string& name) const { return std::get<int64_t>(values_.at(name)); }
  double Float(const std::string& name) const { return std::get<double>(values_.at(name)); }
  bool Bool(const std::string& name) const { return std::get<bool>(values_.at(name)); }
  const std::string& String(const std::string& name) const {
    return std::get<std::string>(values_.at(name));
  }

 private:
  std::map<std::string, OptionValue> values_;
};

}  // namespace tessera::decode
