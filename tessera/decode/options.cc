#include "tessera/decode/options.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tessera::decode {
namespace {

template <typename Number>
bool ParseNumber(std::string_view text, Number* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

const OptionSpec* Find(const std::vector<OptionSpec>& specs, std::string_view name) {
  for (const OptionSpec& spec : specs) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

}  // namespace

OptionSpec IntOption(std::string name, int64_t value, int64_t min, int64_t max, std::string help) {
  return {.name = std::move(name),
          .default_value = value,
          .min = static_cast<double>(min),
          .max = static_cast<double>(max),
          .choices = {},
          .help = std::move(help)};
}

OptionSpec FloatOption(std::string name, double value, double min, double max, std::string help) {
  return {.name = std::move(name),
          .default_value = value,
          .min = min,
          .max = max,
          .choices = {},
          .help = std::move(help)};
}

OptionSpec BoolOption(std::string name, bool value, std::string help) {
  return {.name = std::move(name),
          .default_value = value,
          .min = 0,
          .max = 0,
          .choices = {},
          .help = std::move(help)};
}

OptionSpec ChoiceOption(std::string name, std::string value, std::vector<std::string> choices,
                        std::string help) {
  return {.name = std::move(name),
          .default_value = std::move(value),
          .min = 0,
          .max = 0,
          .choices = std::move(choices),
          .help = std::move(help)};
}

OptionSpec TextOption(std::string name, std::string value, std::string help) {
  return ChoiceOption(std::move(name), std::move(value), {}, std::move(help));
}

std::string AcceptedValues(const OptionSpec& spec) {
  if (std::holds_alternative<bool>(spec.default_value)) return "on|off";
  if (std::holds_alternative<std::string>(spec.default_value)) {
    return spec.choices.empty() ? "text" : fmt::format("{}", fmt::join(spec.choices, "|"));
  }
  if (std::holds_alternative<int64_t>(spec.default_value)) {
    return fmt::format("{:.0f}..{:.0f}", spec.min, spec.max);
  }
  return fmt::format("{:g}..{:g}", spec.min, spec.max);
}

std::string ToString(const OptionValue& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "on" : "off";
  if (const std::string* text = std::get_if<std::string>(&value)) return *text;
  if (const double* number = std::get_if<double>(&value)) return fmt::format("{:g}", *number);
  return fmt::format("{}", std::get<int64_t>(value));
}

Options::Options(const std::vector<OptionSpec>& specs) {
  for (const OptionSpec& spec : specs) values_[spec.name] = spec.default_value;
}

Status Options::Set(const std::vector<OptionSpec>& specs, std::string_view name,
                    std::string_view text) {
  const OptionSpec* spec = Find(specs, name);
  TESSERA_CHECK(spec != nullptr);
  const auto refuse = [&] {
    return InvalidArgument("option {}: got '{}', accepted: {}", name, text, AcceptedValues(*spec));
  };
  OptionValue value = spec->default_value;
  if (int64_t* number = std::get_if<int64_t>(&value)) {
    if (!ParseNumber(text, number) || static_cast<double>(*number) < spec->min ||
        static_cast<double>(*number) > spec->max)
      return refuse();
  } else if (double* real = std::get_if<double>(&value)) {
    if (!ParseNumber(text, real) || !(*real >= spec->min && *real <= spec->max)) return refuse();
  } else if (bool* flag = std::get_if<bool>(&value)) {
    if (text != "on" && text != "off" && text != "true" && text != "false") return refuse();
    *flag = text == "on" || text == "true";
  } else {
    if (!spec->choices.empty() &&
        std::find(spec->choices.begin(), spec->choices.end(), text) == spec->choices.end()) {
      return refuse();
    }
    value = std::string(text);
  }
  values_[spec->name] = value;
  return OkStatus();
}

}  // namespace tessera::decode
