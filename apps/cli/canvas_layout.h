// The canvas as lines of text: words wrapped, confidence as colour, holes where nothing is decided.
// Pure; knows no terminal.
#pragma once

#include <string>
#include <vector>

namespace tessera::cli {

struct Cell {
  enum class Kind {
    kGiven,      // prompt
    kDecided,    // coloured by confidence
    kFresh,      // decided in this step: also bold and underlined
    kUndecided,  // "░░"
    kStop        // end-of-text: "·"
  };
  Kind kind = Kind::kGiven;
  std::string bytes;  // of the token; a character may span cells
  float confidence = 0;
};

struct CanvasLines {
  std::vector<std::string> lines;
  int first_undecided = -1;  // index of the line where it stands, -1: nothing is undecided
};

enum class Color { kOff, kOn };

CanvasLines LayoutCanvas(const std::vector<Cell>& cells, int columns, Color color);

// At most `rows` of the lines, around the first undecided one or at the end.
std::vector<std::string> VisibleLines(const CanvasLines& canvas, int rows);

// The canvas in one line without colours: "_" for each undecided position.
std::string PlainCanvas(const std::vector<Cell>& cells);

// What the colours mean.
std::string ConfidenceLegend(Color color);

}  // namespace tessera::cli
