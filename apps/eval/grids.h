// Latin squares and sudokus of order 4.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/eval/rng.h"
#include "apps/eval/text.h"

namespace tessera::eval {

using Square = std::array<int, 16>;  // symbols 0..3, row by row

const std::vector<Square>& LatinSquares();  // all 576
const std::vector<Square>& Sudokus();       // the 288 of them whose four boxes hold every symbol

// A puzzle: cells to fill in, chosen so that `pool` has one square that agrees with the rest.
struct GridPuzzle {
  Square solution;
  std::vector<int> holes;  // cell indices, ascending
};
// At most `holes` cells are empty, fewer where the solution would not be the only one.
GridPuzzle MakeGridPuzzle(CaseRng* rng, const std::vector<Square>& pool, int holes);

// Rows of cells joined by `separator`, a line each.
std::string GridText(std::span<const std::string> cells, std::string_view separator);

}  // namespace tessera::eval
