// Draws the canvas while it fills in: redrawn in place on a terminal, one plain line per step
// elsewhere.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "apps/cli/canvas_layout.h"
#include "apps/cli/terminal.h"
#include "tessera/api/model.h"

namespace tessera::cli {

class CanvasView {
 public:
  enum class Scope { kOutput, kWholeCanvas };
  // `frame_ms`: how long a frame stays at least, so that a small model's steps can be seen. Steps
  // that take longer are not delayed.
  CanvasView(const api::Model& model, Scope scope, int frame_ms);

  void Step(const api::StepView& view);
  // Leaves the finished text on the screen.
  void Finish(const api::GenerateResult& result);

  // Spent here while the engine's clock ran, to be subtracted from its time: every step but the
  // last, whose time the engine takes before it calls.
  double seconds() const { return seconds_; }
  bool on_terminal() const { return cursor_ != nullptr; }

 private:
  using Clock = std::chrono::steady_clock;
  std::vector<Cell> Cells(const api::StepView& view) const;
  void Paint(const std::vector<std::string>& lines);
  void PaintCanvas(const std::string& heading, const std::vector<Cell>& cells);

  const api::Model& model_;
  Scope scope_;
  std::chrono::milliseconds frame_;
  Color color_;
  std::unique_ptr<HiddenCursor> cursor_;  // null when standard output is no terminal
  int painted_lines_ = 0;
  TerminalSize size_;
  Clock::time_point painted_;
  double seconds_ = 0, last_seconds_ = 0;
};

}  // namespace tessera::cli
