#include "apps/eval/grids.h"

#include <algorithm>
#include <numeric>

namespace tessera::eval {
namespace {

bool HasEverySymbol(const Square& square, const std::array<int, 4>& cells) {
  int seen = 0;
  for (const int cell : cells) seen |= 1 << square[static_cast<size_t>(cell)];
  return seen == 15;
}

std::vector<Square> AllLatinSquares() {
  std::array<int, 4> row = {0, 1, 2, 3};
  std::vector<std::array<int, 4>> rows;
  do {
    rows.push_back(row);
  } while (std::next_permutation(row.begin(), row.end()));
  std::vector<Square> squares;
  Square square{};
  const auto grow = [&](const auto& self, int depth) -> void {
    if (depth == 4) {
      squares.push_back(square);
      return;
    }
    for (const auto& candidate : rows) {
      bool fits = true;
      for (int i = 0; i < 4 * depth; ++i) {
        fits = fits && square[static_cast<size_t>(i)] != candidate[static_cast<size_t>(i % 4)];
      }
      if (!fits) continue;
      std::copy(candidate.begin(), candidate.end(), square.begin() + 4 * depth);
      self(self, depth + 1);
    }
  };
  grow(grow, 0);
  return squares;
}

}  // namespace

const std::vector<Square>& LatinSquares() {
  static const std::vector<Square> squares = AllLatinSquares();
  return squares;
}

const std::vector<Square>& Sudokus() {
  static const std::vector<Square> sudokus = [] {
    std::vector<Square> kept = LatinSquares();
    std::erase_if(kept, [](const Square& s) {
      return !HasEverySymbol(s, {0, 1, 4, 5}) || !HasEverySymbol(s, {2, 3, 6, 7}) ||
             !HasEverySymbol(s, {8, 9, 12, 13}) || !HasEverySymbol(s, {10, 11, 14, 15});
    });
    return kept;
  }();
  return sudokus;
}

GridPuzzle MakeGridPuzzle(CaseRng* rng, const std::vector<Square>& pool, int holes) {
  GridPuzzle puzzle{.solution = pool[rng->Below(pool.size())], .holes = {}};
  std::vector<int> cells(16);
  std::iota(cells.begin(), cells.end(), 0);
  rng->Shuffle(&cells);
  cells.resize(static_cast<size_t>(std::clamp(holes, 0, 16)));
  const auto solutions = [&] {
    return std::count_if(pool.begin(), pool.end(), [&](const Square& s) {
      for (int cell = 0; cell < 16; ++cell) {
        const bool empty = std::find(cells.begin(), cells.end(), cell) != cells.end();
        const auto i = static_cast<size_t>(cell);
        if (!empty && s[i] != puzzle.solution[i]) return false;
      }
      return true;
    });
  };
  while (solutions() > 1) cells.pop_back();
  std::sort(cells.begin(), cells.end());
  puzzle.holes = std::move(cells);
  return puzzle;
}

std::string GridText(std::span<const std::string> cells, std::string_view separator) {
  std::string text;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) text += i % 4 == 0 ? "\n" : separator;
    text += cells[i];
  }
  return text;
}

}  // namespace tessera::eval
