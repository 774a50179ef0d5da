// The tessera command: picks the command, maps its status to an exit code.
#include <clocale>
#include <cstdio>
#include <exception>

#include "apps/cli/command.h"
#include "apps/cli/output.h"
#include "apps/cli/terminal.h"
#include "apps/cli/text_util.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

constexpr int kDone = 0, kFailed = 1, kUsage = 2;

struct Command {
  const char* name;
  const char* summary;
  Status (*run)(const Args& args);
};
constexpr Command kCommands[] = {
    {"run", "generate text from one prompt", RunCommand},
    {"chat", "talk with a model, turn by turn", ChatCommand},
    {"demo", "what the default model can do, and how fast", DemoCommand},
    {"bench", "compare strategies and models: speed, forwards, accuracy", BenchCommand},
    {"eval", "measure quality and cost on tasks, sweep over strategies", EvalCommand},
    {"replay", "run a recorded trajectory again and compare every step", ReplayCommand},
    {"score", "negative log-likelihood and perplexity of a text", ScoreCommand},
    {"logits", "raw network outputs, to compare with another implementation", LogitsCommand},
    {"inspect", "what a checkpoint folder holds", InspectCommand},
    {"strategies", "every way to decode, with its options", StrategiesCommand},
    {"synth", "write a random checkpoint of any architecture and size", SynthCommand},
    {"quantize", "write a checkpoint as int8 or int4", QuantizeCommand},
    {"doctor", "what this machine offers and what would be used", DoctorCommand},
};

std::string Help() {
  std::string help =
      "Tessera makes language models decode many tokens per forward pass.\n\n"
      "usage: tessera COMMAND [OPTIONS]\n\nCommands:\n";
  for (const Command& command : kCommands) {
    help += fmt::format("  {:<12}{}\n", command.name, command.summary);
  }
  help +=
      "\nExamples:\n"
      "  tessera run \"What is 47 + 38?\"           the model in models/, answer as it is decided\n"
      "  tessera run --show \"Copy: ash, oak, elm\"  watch the canvas fill in\n"
      "  tessera run -m FOLDER \"...\"              any Hugging Face folder of a known "
      "architecture\n"
      "\n`tessera COMMAND --help` has the options; `tessera --version` the version.\n"
      "Exit codes: 0 done, 1 failed, 2 the command line is wrong, 130 interrupted.\n";
  return help;
}

Status Dispatch(Args args) {
  if (args.empty() || args[0] == "--help" || args[0] == "-h") {
    Out().Write(Help());
    return OkStatus();
  }
  if (args[0] == "--version" || args[0] == "version") {
    Out().Print("tessera {}\n", api::Version());
    return OkStatus();
  }
  if (args[0] == "help") {
    args.erase(args.begin());
    if (args.empty()) args.push_back("--help");
    if (args[0] != "--help") args = {args[0], "--help"};
    return Dispatch(args);
  }
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (args[0] == command.name) return command.run(Args(args.begin() + 1, args.end()));
    names.push_back(command.name);
  }
  const auto nearest = Nearest(args[0], names);
  const std::string given = OneLine(args[0], 40);
  if (nearest) return UsageError("no command '{}', did you mean {}?", given, *nearest);
  return UsageError("no command '{}'; accepted: {}", given, fmt::join(names, ", "));
}

int Main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "C.UTF-8");  // for the width of characters
  InstallSignalHandlers();
  Status status;
  try {
    status = Dispatch(Args(argv + 1, argv + argc));
  } catch (const std::exception& error) {  // memory, or a library's; the engine throws nothing
    status = Status(StatusCode::kInternal, error.what());
  }
  const Status written = Out().Finish();
  if (status.ok()) status = written;
  if (status.ok()) return kDone;
  Complain(status.message());
  switch (status.code()) {
    case StatusCode::kInvalidArgument: return kUsage;
    case StatusCode::kCancelled: return 128 + (StopSignal() == 0 ? 2 : StopSignal());
    default: return kFailed;
  }
}

}  // namespace
}  // namespace tessera::cli

int main(int argc, char** argv) { return tessera::cli::Main(argc, argv); }
