// tessera strategies: the table of everything --strategy accepts.
#include <unistd.h>

#include "apps/cli/command.h"
#include "apps/cli/json_output.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/terminal.h"
#include "apps/cli/text_util.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

struct Slot {
  const char* name;
  const char* title;
  const char* explanation;
};
constexpr Slot kSlots[] = {
    {"decoder", "Decoders", "for causal models; NAME alone"},
    {"commit", "Commit rules", "which predictions become final in a step; NAME or NAME=VALUE"},
    {"cache", "Cache policies", "which rows are computed again; cache=NAME"},
    {"canvas", "Canvas policies", "where decoding happens; canvas=NAME"},
    {"canvas-extra", "Options of every canvas policy", "OPTION=VALUE"},
    {"diffusion", "Options of every diffusion combination", "OPTION=VALUE"},
};

std::string Invocation(const api::StrategyMember& member) {
  if (member.slot == "cache" || member.slot == "canvas") return member.slot + "=" + member.name;
  return member.name;
}

void PrintText(const std::vector<api::StrategyMember>& members) {
  const Style style(WantsColor(STDOUT_FILENO));
  Out().Write(
      "A strategy is a list of items joined by commas: threshold=0.9,cache=dual,block=32\n");
  for (const Slot& slot : kSlots) {
    Out().Print("\n{}: {}\n", style.Bold(slot.title), slot.explanation);
    for (const api::StrategyMember& member : members) {
      if (member.slot != slot.name) continue;
      if (member.slot != "diffusion" && member.slot != "canvas-extra") {
        Out().Print("  {}{}{}\n", style.Cyan(PadRight(Invocation(member), 18)), member.help,
                    member.source.empty() ? "" : style.Dim(" [" + member.source + "]"));
      }
      for (const api::StrategyOption& option : member.options) {
        Out().Print("    {} {} (accepted: {})\n",
                    PadRight(fmt::format("{}={}", option.name, option.default_value), 24),
                    option.help, option.accepted);
      }
    }
  }
}

std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

void PrintMarkdown(const std::vector<api::StrategyMember>& members) {
  for (const Slot& slot : kSlots) {
    Out().Print("## {}\n\n{}.\n\n| item | does | options | source |\n|---|---|---|---|\n",
                slot.title, slot.explanation);
    for (const api::StrategyMember& member : members) {
      if (member.slot != slot.name) continue;
      std::vector<std::string> options;
      for (const api::StrategyOption& option : member.options) {
        options.push_back(fmt::format("`{}={}`: {} (`{}`)", option.name,
                                      Escaped(option.default_value), Escaped(option.help),
                                      Escaped(option.accepted)));
      }
      Out().Print("| `{}` | {} | {} | {} |\n", Invocation(member), Escaped(member.help),
                  fmt::join(options, "<br>"), Escaped(member.source));
    }
    Out().Write("\n");
  }
}

}  // namespace

Status StrategiesCommand(const Args& args) {
  bool json = false, markdown = false;
  Parser parser("strategies", "Lists every way to decode, with options, defaults and source.");
  const Option json_flag = parser.Flag("--json", &json, "a JSON array");
  parser.Flag("--markdown", &markdown, "tables for documents").Excludes(json_flag);
  parser.Footer("Examples:\n  tessera strategies\n  tessera strategies --json\n");
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  if (!go_on) return OkStatus();
  const std::vector<api::StrategyMember> members = api::ListStrategyMembers();
  if (json) {
    PrintJson(ToJson(members));
  } else if (markdown) {
    PrintMarkdown(members);
  } else {
    PrintText(members);
  }
  return OkStatus();
}

}  // namespace tessera::cli
