#include "apps/cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "apps/cli/terminal.h"
#include "apps/cli/text_util.h"

namespace tessera::cli {
namespace {

using Seconds = std::chrono::duration<double>;
constexpr Seconds kQuiet{1.0};        // work shorter than this shows nothing
constexpr Seconds kBarInterval{0.1};  // smooth, and far below the cost of any step
constexpr Seconds kLineInterval{10.0};
constexpr int kBarColumns = 24;

void Put(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace

Progress::Progress(std::string title, Unit unit)
    : title_(std::move(title)),
      unit_(unit),
      terminal_(IsTerminal(STDERR_FILENO)),
      begin_(Clock::now()) {}

Progress::~Progress() {
  if (drawn_ && terminal_) Put("\r\x1B[K");
}

bool Progress::Update(int64_t done, int64_t total) {
  const Clock::time_point now = Clock::now();
  const Seconds interval = terminal_ ? kBarInterval : kLineInterval;
  const bool due = drawn_ ? now - shown_ >= interval : now - begin_ >= kQuiet;
  if (due && total > 0 && done < total) {
    const std::string line = Line(done, total, Seconds(now - begin_).count());
    Put(terminal_ ? "\r" + OneLine(line, SizeOf(STDERR_FILENO).columns - 1) + "\x1B[K"
                  : line + "\n");
    drawn_ = true;
    shown_ = now;
  }
  return StopSignal() == 0;
}

std::string Progress::Line(int64_t done, int64_t total, double seconds) const {
  const double share = static_cast<double>(done) / static_cast<double>(total);
  std::string bar;
  if (terminal_) {
    const int full = std::clamp(static_cast<int>(share * kBarColumns), 0, kBarColumns);
    for (int i = 0; i < kBarColumns; ++i) bar += i < full ? "█" : "░";
    bar += "  ";
  }
  const auto amount_of = [&](int64_t value) {
    return unit_ == Unit::kBytes     ? Bytes(value)
           : unit_ == Unit::kWeights ? Count(value)
                                     : std::to_string(value);
  };
  const std::string amount = fmt::format("{} of {}", amount_of(done), amount_of(total));
  const std::string left =
      share > 0 ? fmt::format(", {:.0f} s left", seconds / share * (1 - share)) : std::string();
  return fmt::format("{}  {}{:.0f}%  {}{}", title_, bar, 100 * share, amount, left);
}

}  // namespace tessera::cli
