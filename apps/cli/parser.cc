#include "apps/cli/parser.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <limits>
#include <sstream>

#include "apps/cli/output.h"
#include "apps/cli/text_util.h"

namespace tessera::cli {
namespace {

template <typename T>
bool ParseWhole(const std::string& text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

// CLI11 runs validators on the raw text before it converts, so these own all messages.
template <typename T>
CLI::Validator NumberWithin(T min, T max, const std::string& accepted) {
  const auto check = [min, max, accepted](std::string& text) {
    T value = 0;
    const bool fits = ParseWhole(text, &value) && value >= min && value <= max;
    return fits ? std::string() : fmt::format("got '{}', accepted: {}", text, accepted);
  };
  return CLI::Validator(check, "");
}

std::string IntegerRange(int64_t min, int64_t max) {
  return max >= std::numeric_limits<int32_t>::max() ? fmt::format("an integer of {} or more", min)
                                                    : fmt::format("an integer, {}..{}", min, max);
}

constexpr int kNameColumns = 29;
constexpr int kHelpColumns = 100;

// "  name   description", the description wrapped beside the name.
std::string HelpEntry(const std::string& name, const std::string& description) {
  std::string text, line = "  " + name;
  if (DisplayWidth(line) + 2 > kNameColumns) {
    text = line + "\n";
    line.clear();
  }
  line = PadRight(line, kNameColumns);
  std::istringstream words(description);
  bool first = true;
  for (std::string word; words >> word; first = false) {
    if (!first && DisplayWidth(line) + 1 + DisplayWidth(word) > kHelpColumns) {
      text += line + "\n";
      line = std::string(kNameColumns, ' ');
      first = true;
    }
    line += (first ? "" : " ") + word;
  }
  return text + line + "\n";
}

// Description, usage, arguments, options by heading, footer; none of CLI11's type annotations.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode) const override {
    std::string usage = "usage: " + name + " [OPTIONS]";
    std::string arguments;
    for (const CLI::Option* option : app->get_options()) {
      if (!option->get_positional()) continue;
      const std::string argument = option->get_name(/*positional=*/true);
      usage += option->get_required() ? " " + argument : " [" + argument + "]";
      arguments += HelpEntry(argument, option->get_description());
    }
    std::string help = app->get_description() + "\n\n" + usage + "\n";
    if (!arguments.empty()) help += "\nArguments:\n" + arguments;
    for (const std::string& group : app->get_groups()) {
      std::string entries;
      for (const CLI::Option* option : app->get_options()) {
        if (option->get_positional() || option->get_group() != group) continue;
        std::string names = option->get_name(/*positional=*/false, /*all_options=*/true);
        if (const size_t comma = names.find(','); comma != std::string::npos) {
          names.insert(comma + 1, " ");
        } else {
          names.insert(0, "    ");
        }
        if (option->get_type_size() > 0) names += " " + option->get_type_name();
        entries += HelpEntry(
            names, option->get_description() + (option->get_required() ? " (required)" : ""));
      }
      if (!entries.empty()) help += "\n" + group + ":\n" + entries;
    }
    const std::string footer = app->get_footer();
    return help + (footer.empty() ? "" : "\n" + footer);
  }
};

}  // namespace

Option Option::Required() const {
  option_->required();
  return *this;
}

Option Option::Excludes(Option other) const {
  option_->excludes(other.option_);
  return *this;
}

bool Option::given() const { return option_->count() > 0; }

Parser::Parser(const std::string& command, const std::string& summary)
    : app_(std::make_unique<CLI::App>(summary, "tessera " + command)), command_(command) {
  app_->formatter(std::make_shared<HelpFormatter>());
  app_->set_help_flag();  // added last, by Parse
}

Parser::~Parser() = default;

void Parser::Footer(const std::string& text) { app_->footer(text); }

Option Parser::Add(CLI::Option* option, const std::string& placeholder) {
  option->group(group_)->type_name(placeholder)->take_last();
  return Option(option);
}

Option Parser::Text(const std::string& names, std::string* value, const std::string& placeholder,
                    const std::string& help) {
  return Add(app_->add_option(names, *value, help), placeholder);
}

Option Parser::Texts(const std::string& names, std::vector<std::string>* values,
                     const std::string& placeholder, const std::string& help) {
  CLI::Option* option = app_->add_option_function<std::string>(
      names, [values](const std::string& text) { values->push_back(text); }, help);
  option->group(group_)->type_name(placeholder)->trigger_on_parse();
  return Option(option);
}

Option Parser::Int(const std::string& names, int32_t* value, int64_t min, int64_t max,
                   const std::string& help) {
  CLI::Option* option = app_->add_option(names, *value, help);
  option->check(NumberWithin<int64_t>(min, max, IntegerRange(min, max)));
  return Add(option, "N");
}

Option Parser::Long(const std::string& names, int64_t* value, int64_t min, int64_t max,
                    const std::string& help) {
  CLI::Option* option = app_->add_option(names, *value, help);
  option->check(NumberWithin<int64_t>(min, max, IntegerRange(min, max)));
  return Add(option, "N");
}

Option Parser::Seed(uint64_t* value, const std::string& help) {
  CLI::Option* option = app_->add_option("--seed", *value, help);
  option->check(
      NumberWithin<uint64_t>(0, std::numeric_limits<uint64_t>::max(), "an integer of 0 or more"));
  return Add(option, "N");
}

Option Parser::Float(const std::string& names, float* value, float min, float max,
                     const std::string& help) {
  CLI::Option* option = app_->add_option(names, *value, help);
  option->check(NumberWithin<float>(min, max, fmt::format("a number, {}..{}", min, max)));
  return Add(option, "X");
}

Option Parser::Choice(const std::string& names, std::string* value,
                      const std::vector<std::string>& accepted, const std::string& help) {
  const std::string list = fmt::format("{}", fmt::join(accepted, ", "));
  const auto check = [accepted, list](std::string& text) {
    const bool known = std::find(accepted.begin(), accepted.end(), text) != accepted.end();
    return known ? std::string() : fmt::format("got '{}', accepted: {}", text, list);
  };
  CLI::Option* option = app_->add_option(names, *value, help + ": " + list);
  option->check(CLI::Validator(check, ""));
  return Add(option, "NAME");
}

Option Parser::Flag(const std::string& names, bool* value, const std::string& help) {
  return Option(app_->add_flag(names, *value, help)->group(group_));
}

Option Parser::Positional(const std::string& name, std::string* value, const std::string& help) {
  return Option(app_->add_option(name, *value, help)->type_name("")->group("Arguments"));
}

Status Parser::Explain(const CLI::ParseError& error) const {
  const std::string help = fmt::format("; see tessera {} --help", command_);
  const std::vector<std::string> extras = app_->remaining();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !extras.empty()) {
    const std::string& extra = extras.front();
    if (extra.size() < 2 || extra[0] != '-') {
      return UsageError("{}: unexpected argument '{}' (a text of several words needs quotes){}",
                        command_, OneLine(extra, 60), help);
    }
    std::vector<std::string> names;
    for (const CLI::Option* option : app_->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    const auto nearest = Nearest(extra, names);
    return UsageError("{}: unknown option {}{}{}", command_, OneLine(extra, 60),
                      nearest ? fmt::format(", did you mean {}?", *nearest) : std::string(),
                      nearest ? std::string() : help);
  }
  return UsageError("{}: {}{}", command_, error.what(), help);
}

Result<bool> Parser::Parse(const Args& args) {
  for (const std::string& arg : args) {
    if (const auto offset = FindInvalidUtf8(arg)) {
      return UsageError("{}: argument '{}' is not valid UTF-8 at byte {}", command_,
                        OneLine(arg, 40), *offset);
    }
  }
  app_->set_help_flag("-h,--help", "show this page")->group("Options");
  try {
    app_->parse(Args(args.rbegin(), args.rend()));  // CLI11 takes them last to first
  } catch (const CLI::CallForHelp&) {
    Out().Write(app_->help());
    return false;
  } catch (const CLI::ParseError& error) {
    return Explain(error);
  }
  return true;
}

}  // namespace tessera::cli
