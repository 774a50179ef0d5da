#include "apps/cli/canvas_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "apps/cli/text_util.h"

namespace tessera::cli {
namespace {

struct Level {
  float least;
  int color;  // of the 256-colour palette
  std::string_view label;
};
// Lowest first. 0.9 is the threshold that Fast-dLLM uses throughout.
constexpr Level kLevels[] = {
    {0.0f, 203, "< 0.5"}, {0.5f, 215, "< 0.7"}, {0.7f, 221, "< 0.9"}, {0.9f, 114, "0.9 and more"}};

int ColorOf(float confidence) {
  int color = kLevels[0].color;
  for (const Level& level : kLevels) {
    if (confidence >= level.least) color = level.color;
  }
  return color;
}

std::string StyleOf(const Cell& cell) {
  switch (cell.kind) {
    case Cell::Kind::kGiven: return "";
    case Cell::Kind::kDecided: return fmt::format("38;5;{}", ColorOf(cell.confidence));
    case Cell::Kind::kFresh: return fmt::format("1;4;38;5;{}", ColorOf(cell.confidence));
    case Cell::Kind::kUndecided:
    case Cell::Kind::kStop: return "38;5;240";
  }
  return "";
}

struct Glyph {
  std::string text;
  int columns = 0;
  size_t cell = 0;
  bool space = false, newline = false;
};

std::vector<Glyph> Glyphs(const std::vector<Cell>& cells) {
  std::vector<Glyph> glyphs;
  std::string bytes;  // of adjacent decided cells
  std::vector<size_t> cell_of_byte;
  const auto flush = [&] {
    for (size_t offset = 0; offset < bytes.size();) {
      const Utf8Char c = DecodeUtf8(bytes, offset);
      Glyph glyph{.text = Printable(std::string_view(bytes).substr(offset, c.bytes)),
                  .cell = cell_of_byte[offset]};
      glyph.newline = c.value == '\n';
      if (c.value == '\t') glyph.text = "    ";
      glyph.space = c.value == ' ' || c.value == '\t';
      glyph.columns = DisplayWidth(glyph.text);
      glyphs.push_back(std::move(glyph));
      offset += c.bytes;
    }
    bytes.clear();
    cell_of_byte.clear();
  };
  for (size_t i = 0; i < cells.size(); ++i) {
    const Cell& cell = cells[i];
    if (cell.kind == Cell::Kind::kUndecided || cell.kind == Cell::Kind::kStop) {
      flush();
      const bool stop = cell.kind == Cell::Kind::kStop;
      glyphs.push_back({.text = stop ? "·" : "░░", .columns = stop ? 1 : 2, .cell = i});
    } else {
      bytes += cell.bytes;
      cell_of_byte.resize(bytes.size(), i);
    }
  }
  flush();
  return glyphs;
}

// Index one past the glyphs of the line that begins at `begin`: up to a newline, or as many words
// as fit, or at least one glyph.
size_t LineEnd(const std::vector<Glyph>& glyphs, size_t begin, int columns) {
  int used = 0;
  size_t last_break = begin;
  for (size_t i = begin; i < glyphs.size(); ++i) {
    if (glyphs[i].newline) return i;
    used += glyphs[i].columns;
    if (used > columns && !glyphs[i].space) {
      return last_break > begin ? last_break : std::max(i, begin + 1);
    }
    const bool hole = glyphs[i].text == "░░";
    if (glyphs[i].space || hole) last_break = i + 1;
  }
  return glyphs.size();
}

}  // namespace

CanvasLines LayoutCanvas(const std::vector<Cell>& cells, int columns, Color color) {
  CanvasLines canvas;
  const std::vector<Glyph> glyphs = Glyphs(cells);
  for (size_t begin = 0; begin < glyphs.size();) {
    const size_t end = LineEnd(glyphs, begin, columns);
    std::string line, style;
    for (size_t i = begin; i < end; ++i) {
      const Cell& cell = cells[glyphs[i].cell];
      if (cell.kind == Cell::Kind::kUndecided && canvas.first_undecided < 0) {
        canvas.first_undecided = static_cast<int>(canvas.lines.size());
      }
      const std::string wanted = color == Color::kOn ? StyleOf(cell) : "";
      if (wanted != style) line += fmt::format("\x1B[0;{}m", wanted);
      style = wanted;
      line += glyphs[i].text;
    }
    if (!style.empty()) line += "\x1B[0m";
    canvas.lines.push_back(std::move(line));
    begin = end < glyphs.size() && glyphs[end].newline ? end + 1 : end;
  }
  return canvas;
}

std::vector<std::string> VisibleLines(const CanvasLines& canvas, int rows) {
  const int total = static_cast<int>(canvas.lines.size());
  if (total <= rows) return canvas.lines;
  int begin = total - rows;
  if (canvas.first_undecided >= 0) {
    begin = std::clamp(canvas.first_undecided - rows / 2, 0, total - rows);
  }
  return {canvas.lines.begin() + begin, canvas.lines.begin() + begin + rows};
}

std::string PlainCanvas(const std::vector<Cell>& cells) {
  std::string text, bytes;
  for (const Cell& cell : cells) {
    if (cell.kind == Cell::Kind::kUndecided || cell.kind == Cell::Kind::kStop) {
      text += Printable(bytes);
      bytes.clear();
      if (cell.kind == Cell::Kind::kUndecided) text += "_";
    } else {
      bytes += cell.bytes;
    }
  }
  return text + Printable(bytes);
}

std::string ConfidenceLegend(Color color) {
  if (color == Color::kOff) return "░░ undecided";
  std::string legend = "confidence";
  for (const Level& level : kLevels) {
    legend += fmt::format("  \x1B[38;5;{}m█\x1B[0m {}", level.color, level.label);
  }
  return legend;
}

}  // namespace tessera::cli
