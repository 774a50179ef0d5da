// tessera chat: a conversation, in a terminal or from piped lines.
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "apps/cli/canvas_view.h"
#include "apps/cli/command.h"
#include "apps/cli/generate_options.h"
#include "apps/cli/metrics.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/terminal.h"
#include "apps/cli/text_util.h"

namespace tessera::cli {
namespace {

constexpr const char* kHelp =
    "  /strategy TEXT   decode that way from now on; without TEXT: what is used\n"
    "  /show            draw the canvas while it fills in, on or off\n"
    "  /system TEXT     system message; starts the conversation anew\n"
    "  /reset           forget the conversation\n"
    "  /quit            leave (also Ctrl-D)\n"
    "  A line that ends with \\ goes on in the next one. Ctrl-C stops an answer.\n";

// Lines of standard input, read without swallowing Ctrl-C.
class LineReader {
 public:
  // Nothing at the end of the input or when the user asked to stop.
  Result<std::optional<std::string>> Next() {
    while (true) {
      const size_t newline = buffer_.find('\n');
      if (newline != std::string::npos) return Take(newline, 1);
      if (at_end_) {
        if (buffer_.empty()) return std::optional<std::string>();
        return Take(buffer_.size(), 0);
      }
      char chunk[4096];
      const ssize_t got = read(STDIN_FILENO, chunk, sizeof(chunk));
      if (got > 0) {
        buffer_.append(chunk, static_cast<size_t>(got));
      } else if (got == 0) {
        at_end_ = true;
      } else if (StopSignal() != 0) {
        return std::optional<std::string>();
      } else if (errno != EINTR) {
        return Failure("standard input: cannot read: {}", std::strerror(errno));
      }
    }
  }

 private:
  Result<std::optional<std::string>> Take(size_t length, size_t newline) {
    std::string line = buffer_.substr(0, length);
    buffer_.erase(0, length + newline);
    ++number_;
    if (line.ends_with('\r')) line.pop_back();
    if (const auto offset = FindInvalidUtf8(line)) {
      return Failure("standard input: line {} is not valid UTF-8 at byte {}; accepted: UTF-8 text",
                     number_, *offset);
    }
    return std::optional<std::string>(std::move(line));
  }

  std::string buffer_;
  bool at_end_ = false;
  int number_ = 0;
};

class Chat {
 public:
  Chat(api::Model& model, GenerateOptions options, std::string system, bool show, int frame_ms)
      : model_(model),
        options_(std::move(options)),
        system_(std::move(system)),
        show_(show),
        frame_ms_(frame_ms),
        interactive_(IsTerminal(STDIN_FILENO) && IsTerminal(STDOUT_FILENO)) {
    Reset();
  }

  Status Run();

 private:
  enum class Next { kGoOn, kQuit };
  Next Command(const std::string& line);
  void SetStrategy(const std::string& strategy);
  Status Answer(const std::string& text);
  void Reset() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back({.role = "system", .content = system_});
  }
  void Note(const std::string& text) const {
    Out().Flush();
    fmt::print(stderr, "{}\n", Style(WantsColor(STDERR_FILENO)).Dim(text));
  }

  api::Model& model_;
  GenerateOptions options_;
  std::string system_;
  bool show_;
  int frame_ms_;
  bool interactive_;
  std::vector<api::Message> messages_;
};

void Chat::SetStrategy(const std::string& strategy) {
  const Status status = model_.CheckStrategy(strategy);
  if (!status.ok()) {
    Complain(status.message());
    return;
  }
  options_.strategy = strategy;
  Note("strategy: " + strategy);
}

Chat::Next Chat::Command(const std::string& line) {
  const size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
  rest.erase(0, rest.find_first_not_of(' '));
  if (name == "/quit" || name == "/exit" || name == "/bye") return Next::kQuit;
  if (name == "/help" || name == "/?") {
    Out().Write(kHelp);
  } else if (name == "/reset") {
    Reset();
    Note("a new conversation");
  } else if (name == "/show") {
    show_ = !show_;
    Note(show_ ? "the canvas is drawn" : "the canvas is not drawn");
  } else if (name == "/system") {
    system_ = rest;
    Reset();
    Note("a new conversation");
  } else if (name == "/strategy" && rest.empty()) {
    Note("strategy: " + (options_.strategy.empty() ? model_.info().default_strategy + " (default)"
                                                   : options_.strategy));
  } else if (name == "/strategy") {
    SetStrategy(rest);
  } else {
    Complain(
        fmt::format("chat: no command {}; accepted: /strategy /show /system /reset /help /quit",
                    OneLine(name, 30)));
  }
  return Next::kGoOn;
}

Status Chat::Answer(const std::string& text) {
  messages_.push_back({.role = "user", .content = text});
  Result<std::vector<api::TokenId>> ids = model_.EncodeChat(messages_);
  if (!ids.ok()) {
    messages_.pop_back();
    return ids.status();
  }
  const api::ModelInfo& info = model_.info();
  const auto used = static_cast<int64_t>(ids->size());
  api::GenerateRequest request = MakeRequest(options_, info, used);
  if (used + request.max_new_tokens > info.context) {
    messages_.pop_back();
    return Status(StatusCode::kResourceExhausted,
                  fmt::format("the conversation is full: its {} tokens and {} new ones exceed the "
                              "context of {}; /reset starts anew{}",
                              used, request.max_new_tokens, info.context,
                              used < info.context && options_.max_tokens > 0
                                  ? fmt::format(", -n {} would fit", info.context - used)
                                  : std::string()));
  }
  request.ids = std::move(*ids);

  std::unique_ptr<CanvasView> view;
  if (show_) {
    view = std::make_unique<CanvasView>(model_, CanvasView::Scope::kOutput, frame_ms_);
  } else {
    request.on_text = [&](std::string_view chunk) {
      Out().Write(interactive_ ? Printable(chunk) : chunk);
      Out().Flush();
    };
  }
  request.on_step = [&](const api::StepView& step) {
    if (view != nullptr) view->Step(step);
    return StopSignal() == 0 && Out().ok();
  };
  Result<api::GenerateResult> result = model_.Generate(request);
  if (!result.ok()) {
    messages_.pop_back();
    return result.status();
  }
  if (view != nullptr && view->on_terminal()) {
    view->Finish(*result);
  } else {
    if (view != nullptr) Out().Write(result->text);
    Out().Write("\n");
  }
  messages_.push_back({.role = "assistant", .content = result->text});
  if (StopSignal() == SIGINT && interactive_) {
    ClearStopSignal();
    Note("stopped");
    return OkStatus();
  }
  TESSERA_RETURN_IF_ERROR(CheckStopped());
  if (interactive_) {
    Note(StatsLine(RatesOf(result->metrics, 0, view == nullptr ? 0 : view->seconds()),
                   result->metrics));
  }
  return OkStatus();
}

Status Chat::Run() {
  LineReader reader;
  std::string text;
  while (Out().ok()) {
    if (interactive_)
      Out().Write(Style(WantsColor(STDOUT_FILENO)).Cyan(text.empty() ? "> " : "… "));
    Out().Flush();
    TESSERA_ASSIGN_OR_RETURN(const std::optional<std::string> line, reader.Next());
    if (!line) break;
    text += *line;
    if (text.ends_with('\\')) {
      text.back() = '\n';
      continue;
    }
    if (text.find_first_not_of(" \n") == std::string::npos) {
      text.clear();
      continue;
    }
    if (text.front() == '/') {
      if (Command(text) == Next::kQuit) return OkStatus();
    } else {
      const Status status = Answer(text);
      if (status.code() == StatusCode::kCancelled) return status;
      if (!status.ok() && !interactive_) return status;  // a script must not go on unanswered
      if (!status.ok()) Complain(status.message());
    }
    text.clear();
  }
  if (interactive_) Out().Write("\n");
  return CheckStopped();
}

}  // namespace

Status ChatCommand(const Args& args) {
  ModelOptions model_options;
  GenerateOptions generate;
  std::string system;
  bool show = false;
  int32_t frame_ms = 60;
  Parser parser("chat", "Talks with a model, turn by turn; piped lines are turns too.");
  AddModelOptions(parser, &model_options);
  AddGenerateOptions(parser, &generate);
  parser.Text("--system", &system, "TEXT", "system message");
  parser.Flag("--show", &show, "draw the canvas while it fills in");
  parser.Int("--frame", &frame_ms, 0, 60'000,
             "with --show: milliseconds that a step stays visible at least (default 60)");
  AddLoadOptions(parser, &model_options);
  parser.Footer(std::string("In the conversation:\n") + kHelp +
                "\nExamples:\n"
                "  tessera chat --show\n"
                "  printf 'What is 2 + 3?\\nWhat is 9 - 4?\\n' | tessera chat\n\n" +
                StrategyHelp());
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  if (!go_on) return OkStatus();

  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<api::Model> model, LoadModel(model_options));
  const api::ModelInfo& info = model->info();
  TESSERA_RETURN_IF_ERROR(model->CheckStrategy(generate.strategy));
  if (!info.has_tokenizer || !info.has_chat_template) {
    return UsageError(
        "chat: {} has no {}; accepted: an instruction-tuned checkpoint, or `tessera "
        "run --{}`",
        ShortName(info), info.has_tokenizer ? "chat template" : "tokenizer",
        info.has_tokenizer ? "raw" : "ids");
  }
  if (IsTerminal(STDIN_FILENO) && IsTerminal(STDOUT_FILENO)) {
    fmt::print(stderr, "{}: {} parameters, {}; /help lists commands\n", ShortName(info),
               Count(info.parameters),
               generate.strategy.empty() ? info.default_strategy : generate.strategy);
  }
  return Chat(*model, generate, system, show, frame_ms).Run();
}

}  // namespace tessera::cli
