// The terminal and the signals of this process: is it one, how large, which colours; Ctrl-C as a
// flag that commands poll; a cursor that is never left hidden. Process-wide, one thread.
#pragma once

#include <string>
#include <string_view>

namespace tessera::cli {

bool IsTerminal(int fd);
// A terminal whose user wants colours (NO_COLOR is unset, TERM is not "dumb").
bool WantsColor(int fd);
// Columns and rows of the terminal on `fd`; 80 x 24 when unknown.
struct TerminalSize {
  int columns = 80;
  int rows = 24;
  bool operator==(const TerminalSize&) const = default;
};
TerminalSize SizeOf(int fd);

// SIGINT and SIGTERM set a flag; a second one restores the cursor and ends the process at once.
// SIGPIPE is ignored, so that writing reports EPIPE.
void InstallSignalHandlers();
// The signal that asked to stop, or 0.
int StopSignal();
void ClearStopSignal();

// Hides the cursor of the terminal on stdout until destroyed, also across Ctrl-C and Ctrl-Z.
class HiddenCursor {
 public:
  HiddenCursor();
  ~HiddenCursor();
  HiddenCursor(const HiddenCursor&) = delete;
  HiddenCursor& operator=(const HiddenCursor&) = delete;
};

// SGR sequences, or plain text when colours are off.
class Style {
 public:
  explicit Style(bool color) : color_(color) {}
  bool color() const { return color_; }
  std::string Bold(std::string_view text) const { return Wrap("1", text); }
  std::string Dim(std::string_view text) const { return Wrap("2", text); }
  std::string Green(std::string_view text) const { return Wrap("32", text); }
  std::string Red(std::string_view text) const { return Wrap("31", text); }
  std::string Cyan(std::string_view text) const { return Wrap("36", text); }

 private:
  std::string Wrap(std::string_view code, std::string_view text) const;
  bool color_;
};

}  // namespace tessera::cli
