#include "apps/cli/canvas_view.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "apps/cli/output.h"
#include "apps/cli/text_util.h"

namespace tessera::cli {
namespace {

// ", 2 edited, 1 taken back", or nothing.
std::string Revised(const api::StepView& view) {
  std::string text;
  if (!view.edited.empty()) text += fmt::format(", {} edited", view.edited.size());
  if (!view.remasked.empty()) text += fmt::format(", {} taken back", view.remasked.size());
  return text;
}

}  // namespace

CanvasView::CanvasView(const api::Model& model, Scope scope, int frame_ms)
    : model_(model),
      scope_(scope),
      frame_(frame_ms),
      color_(WantsColor(STDOUT_FILENO) ? Color::kOn : Color::kOff),
      size_(SizeOf(STDOUT_FILENO)) {
  if (IsTerminal(STDOUT_FILENO)) cursor_ = std::make_unique<HiddenCursor>();
}

std::vector<Cell> CanvasView::Cells(const api::StepView& view) const {
  const api::ModelInfo& info = model_.info();
  std::vector<Cell> cells;
  const size_t prompt = static_cast<size_t>(view.prompt_length);
  for (size_t i = scope_ == Scope::kOutput ? prompt : 0; i < view.canvas.size(); ++i) {
    const api::TokenId token = view.canvas[i];
    Cell cell{.kind = Cell::Kind::kDecided, .bytes = "", .confidence = view.confidence[i]};
    const bool stop =
        std::find(info.stop_ids.begin(), info.stop_ids.end(), token) != info.stop_ids.end();
    if (info.mask_id >= 0 && token == info.mask_id) {
      cell.kind = Cell::Kind::kUndecided;
    } else if (stop && i >= prompt) {
      cell.kind = Cell::Kind::kStop;
    } else {
      cell.bytes = model_.TokenText(token);
      if (!info.has_tokenizer) cell.bytes = fmt::format("{} ", token);
      if (i < prompt && view.confidence[i] == 0) {
        cell.kind = Cell::Kind::kGiven;
        if (info.has_tokenizer && model_.Decode({&token, 1}).empty())
          cell.bytes.clear();  // special
      }
    }
    cells.push_back(std::move(cell));
  }
  const size_t first = view.canvas.size() - cells.size();
  for (const std::span<const api::Placed> changes : {view.placed, view.edited}) {
    for (const api::Placed& placed : changes) {
      const auto position = static_cast<size_t>(placed.position);
      if (position < first || position >= view.canvas.size()) continue;
      Cell& cell = cells[position - first];
      if (cell.kind == Cell::Kind::kDecided) cell.kind = Cell::Kind::kFresh;
    }
  }
  return cells;
}

void CanvasView::Step(const api::StepView& view) {
  const Clock::time_point begin = Clock::now();
  const std::vector<Cell> cells = Cells(view);
  const auto undecided = std::count_if(cells.begin(), cells.end(), [](const Cell& cell) {
    return cell.kind == Cell::Kind::kUndecided;
  });
  const auto decided = static_cast<int64_t>(cells.size()) - undecided;
  if (on_terminal()) {
    if (frame_.count() > 0 && StopSignal() == 0) std::this_thread::sleep_until(painted_ + frame_);
    PaintCanvas(
        fmt::format("step {} · {} of {} rows · {} placed{} · {} of {} decided", view.step + 1,
                    view.kind, view.rows, view.placed.size(), Revised(view), decided, cells.size()),
        cells);
    painted_ = Clock::now();
  } else {
    Out().Print("{:>4}  {:<8}  {:>4} rows  {:>3} placed{}  {:>4}/{}  {}\n", view.step + 1,
                view.kind, view.rows, view.placed.size(), Revised(view), decided, cells.size(),
                OneLine(PlainCanvas(cells), 1 << 20));
    Out().Flush();
  }
  seconds_ += last_seconds_;
  last_seconds_ = std::chrono::duration<double>(Clock::now() - begin).count();
}

void CanvasView::Finish(const api::GenerateResult& result) {
  if (!on_terminal()) return;
  std::vector<Cell> cells;
  const bool whole = scope_ == Scope::kWholeCanvas;
  const std::vector<api::TokenId>& tokens = whole ? result.canvas : result.output;
  if (whole) {
    cells.push_back({.kind = Cell::Kind::kGiven, .bytes = result.canvas_text});
  } else {
    for (size_t i = 0; i < tokens.size(); ++i) {
      cells.push_back({.kind = Cell::Kind::kDecided,
                       .bytes = model_.info().has_tokenizer ? model_.TokenText(tokens[i])
                                                            : fmt::format("{} ", tokens[i]),
                       .confidence = result.confidence[i]});
    }
  }
  if (frame_.count() > 0 && StopSignal() == 0) std::this_thread::sleep_until(painted_ + frame_);
  PaintCanvas("", cells);
  cursor_.reset();
}

void CanvasView::PaintCanvas(const std::string& heading, const std::vector<Cell>& cells) {
  constexpr int kLegendColumns = 53;
  constexpr int kFrameLines = 4;  // heading, blank, blank, legend; the cursor's line is one more
  const TerminalSize size = SizeOf(STDOUT_FILENO);
  if (size != size_) {  // the old frame has been wrapped anew: start on a clean screen
    Out().Write("\x1B[2J\x1B[H");
    painted_lines_ = 0;
    size_ = size;
  }
  const CanvasLines canvas = LayoutCanvas(cells, std::max(1, size.columns - 1), color_);
  std::vector<std::string> lines;
  if (heading.empty()) {
    lines = canvas.lines;  // all of it: what does not fit scrolls
  } else {
    lines.push_back(Style(color_ == Color::kOn).Dim(OneLine(heading, size.columns - 1)));
    lines.push_back("");
    const auto visible = VisibleLines(canvas, std::max(1, size.rows - kFrameLines - 1));
    lines.insert(lines.end(), visible.begin(), visible.end());
    lines.push_back("");
    lines.push_back(size.columns > kLegendColumns ? ConfidenceLegend(color_) : "");
  }
  Paint(lines);
}

// One write per frame, inside a synchronised update, each line cleared only behind its text: no
// moment shows a half-drawn screen.
void CanvasView::Paint(const std::vector<std::string>& lines) {
  std::string frame = "\x1B[?2026h";
  if (painted_lines_ > 0) frame += fmt::format("\x1B[{}A", painted_lines_);
  frame += "\r";
  for (const std::string& line : lines) frame += line + "\x1B[K\n";
  if (static_cast<int>(lines.size()) < painted_lines_) frame += "\x1B[J";
  frame += "\x1B[?2026l";
  Out().Write(frame);
  Out().Flush();
  painted_lines_ = static_cast<int>(lines.size());
}

}  // namespace tessera::cli
