#include "apps/cli/canvas_layout.h"

#include <gtest/gtest.h>

#include <clocale>

namespace tessera::cli {
namespace {

using Lines = std::vector<std::string>;

Cell Decided(const std::string& bytes, float confidence = 1) {
  return {.kind = Cell::Kind::kDecided, .bytes = bytes, .confidence = confidence};
}
const Cell kHole = {.kind = Cell::Kind::kUndecided};

class CanvasLayout : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(std::setlocale(LC_CTYPE, "C.UTF-8"), nullptr); }
};

TEST_F(CanvasLayout, WrapsBetweenWords) {
  const auto canvas = LayoutCanvas({Decided("one two"), Decided(" three")}, 8, Color::kOff);
  EXPECT_EQ(canvas.lines, (Lines{"one two ", "three"}));
  EXPECT_EQ(canvas.first_undecided, -1);
}

TEST_F(CanvasLayout, CutsWordsThatAreTooLong) {
  EXPECT_EQ(LayoutCanvas({Decided("abcdefgh")}, 3, Color::kOff).lines, (Lines{"abc", "def", "gh"}));
  EXPECT_EQ(LayoutCanvas({Decided("漢字")}, 1, Color::kOff).lines, (Lines{"漢", "字"}))
      << "wider than the terminal, and still an end";
}

TEST_F(CanvasLayout, KeepsNewlines) {
  EXPECT_EQ(LayoutCanvas({Decided("a\n\nb\n")}, 9, Color::kOff).lines, (Lines{"a", "", "b"}));
}

TEST_F(CanvasLayout, JoinsCharactersSplitOverTokens) {
  EXPECT_EQ(LayoutCanvas({Decided("\xE6"), Decided("\xBC\xA2")}, 9, Color::kOff).lines,
            (Lines{"漢"}));
  EXPECT_EQ(LayoutCanvas({Decided("\xE6"), kHole, Decided("\xBC")}, 9, Color::kOff).lines,
            (Lines{"\uFFFD░░\uFFFD"}));
}

TEST_F(CanvasLayout, ColoursByConfidence) {
  const auto canvas = LayoutCanvas({Decided("a", 0.95f), Decided("b", 0.2f)}, 9, Color::kOn);
  EXPECT_EQ(canvas.lines, (Lines{"\x1B[0;38;5;114ma\x1B[0;38;5;203mb\x1B[0m"}));
}

TEST_F(CanvasLayout, EscapeSequencesOfTheModelStayText) {
  EXPECT_EQ(LayoutCanvas({Decided("\x1B[2J")}, 9, Color::kOff).lines, (Lines{"\uFFFD[2J"}));
}

TEST_F(CanvasLayout, ShowsTheLinesWhereSomethingHappens) {
  std::vector<Cell> cells;
  for (int i = 0; i < 9; ++i) cells.push_back(i == 4 ? kHole : Decided("x"));
  const auto canvas = LayoutCanvas(cells, 1, Color::kOff);
  ASSERT_EQ(canvas.lines.size(), 9u);
  EXPECT_EQ(canvas.first_undecided, 4);
  EXPECT_EQ(VisibleLines(canvas, 3), (Lines{"x", "░░", "x"}));
  EXPECT_EQ(VisibleLines(canvas, 20).size(), 9u);
}

TEST_F(CanvasLayout, PlainLine) {
  EXPECT_EQ(PlainCanvas({Decided("a"), kHole, kHole, Decided(" b"), {.kind = Cell::Kind::kStop}}),
            "a__ b");
}

}  // namespace
}  // namespace tessera::cli
