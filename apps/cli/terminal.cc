#include "apps/cli/terminal.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

namespace tessera::cli {
namespace {

constexpr std::string_view kHide = "\x1B[?25l";
// Also ends a synchronised update and any colour that a frame was cut in.
constexpr std::string_view kRestore = "\x1B[?2026l\x1B[0m\x1B[?25h";

std::atomic<int> stop_signal{0};
std::atomic<bool> cursor_hidden{false};
static_assert(std::atomic<int>::is_always_lock_free, "used in a signal handler");

void WriteRaw(std::string_view text) {
  // Nothing can be done about a failure inside a signal handler.
  [[maybe_unused]] const ssize_t written = write(STDOUT_FILENO, text.data(), text.size());
}

void OnStop(int signal) {
  if (stop_signal.exchange(signal) == 0) return;
  if (cursor_hidden) WriteRaw(kRestore);
  _exit(128 + signal);
}

void OnSuspend(int);

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);  // without SA_RESTART: a read in progress returns
}

void OnSuspend(int) {
  if (cursor_hidden) WriteRaw(kRestore);
  Handle(SIGTSTP, SIG_DFL);
  raise(SIGTSTP);
}

void OnContinue(int) {
  Handle(SIGTSTP, OnSuspend);
  if (cursor_hidden) WriteRaw(kHide);
}

}  // namespace

bool IsTerminal(int fd) { return isatty(fd) == 1; }

bool WantsColor(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool refused = no_color != nullptr && *no_color != '\0';
  return IsTerminal(fd) && !refused && term != nullptr && std::string_view(term) != "dumb";
}

TerminalSize SizeOf(int fd) {
  winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {.columns = size.ws_col, .rows = size.ws_row};
}

void InstallSignalHandlers() {
  Handle(SIGINT, OnStop);
  Handle(SIGTERM, OnStop);
  Handle(SIGPIPE, SIG_IGN);
}

int StopSignal() { return stop_signal; }
void ClearStopSignal() { stop_signal = 0; }

HiddenCursor::HiddenCursor() {
  cursor_hidden = true;
  Handle(SIGTSTP, OnSuspend);
  Handle(SIGCONT, OnContinue);
  WriteRaw(kHide);
}

HiddenCursor::~HiddenCursor() {
  WriteRaw(kRestore);
  cursor_hidden = false;
  Handle(SIGTSTP, SIG_DFL);
  Handle(SIGCONT, SIG_DFL);
}

std::string Style::Wrap(std::string_view code, std::string_view text) const {
  return color_ ? fmt::format("\x1B[{}m{}\x1B[0m", code, text) : std::string(text);
}

}  // namespace tessera::cli
