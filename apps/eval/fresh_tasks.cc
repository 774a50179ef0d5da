#include "apps/eval/fresh_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "apps/eval/grids.h"
#include "apps/eval/rng.h"
#include "apps/eval/text.h"
#include "apps/eval/words.h"

namespace tessera::eval {
namespace {

Case Ask(const std::string& request, std::string answer, const char* grader = "exact",
         nlohmann::json meta = nullptr) {
  return {.task = "",
          .messages = {{.role = "user", .content = request}},
          .answer = std::move(answer),
          .grader = grader,
          .meta = std::move(meta),
          .parts = {}};
}

Strings LetterSymbols(CaseRng* rng) {
  Strings symbols;
  for (char c = 'A'; c <= 'Z'; ++c) symbols.emplace_back(1, c);
  rng->Shuffle(&symbols);
  symbols.resize(4);
  return symbols;
}

Case LatinMake(uint64_t seed, uint64_t index) {
  CaseRng rng(seed, "grid/latin_make", index);
  const Strings symbols = LetterSymbols(&rng);
  return Ask(fmt::format("Make a 4x4 Latin square with the symbols {}.", fmt::join(symbols, ", ")),
             "", "latin", {{"symbols", symbols}});
}

// The puzzle with `blank` in its holes, and the whole square.
std::pair<std::string, std::string> PuzzleTexts(const GridPuzzle& puzzle, const Strings& symbols,
                                                const char* blank) {
  Strings cells;
  for (const int symbol : puzzle.solution) cells.push_back(symbols[static_cast<size_t>(symbol)]);
  const std::string answer = GridText(cells, ",");
  for (const int hole : puzzle.holes) cells[static_cast<size_t>(hole)] = blank;
  return {GridText(cells, ","), answer};
}

Case LatinComplete(uint64_t seed, uint64_t index) {
  CaseRng rng(seed, "grid/latin_complete", index);
  const Strings symbols = LetterSymbols(&rng);
  const int holes = rng.Between(4, 7);
  const auto [given, answer] =
      PuzzleTexts(MakeGridPuzzle(&rng, LatinSquares(), holes), symbols, "_");
  return Ask("Complete this 4x4 Latin square:\n" + given, answer);
}

Case Sudoku(uint64_t seed, uint64_t index) {
  CaseRng rng(seed, "grid/sudoku", index);
  const int holes = rng.Between(4, 7);
  const auto [given, answer] =
      PuzzleTexts(MakeGridPuzzle(&rng, Sudokus(), holes), {"1", "2", "3", "4"}, "0");
  return Ask("Solve this 4x4 sudoku:\n" + given, answer);
}

// Operands that training never showed together.
template <typename Draw>
std::pair<int, int> HeldOutPair(char op, const Draw& draw) {
  while (true) {
    const auto [a, b] = draw();
    if (IsHeldOut(fmt::format("{}{}{}", a, op, b))) return {a, b};
  }
}

Case Add(uint64_t seed, uint64_t index) {
  CaseRng rng(seed, "arithmetic/add", index);
  const auto [a, b] =
      HeldOutPair('+', [&] { return std::pair(rng.Between(10, 99), rng.Between(10, 99)); });
  return Ask(fmt::format("What is {} + {}?", a, b), std::to_string(a + b));
}

Case Subtract(uint64_t seed, uint64_t index) {
  CaseRng rng(seed, "arithmetic/subtract", index);
  const auto [a, b] = HeldOutPair('-', [&] {
    const int x = rng.Between(10, 99), y = rng.Between(10, 99);
    return std::pair(std::max(x, y), std::min(x, y));
  });
  return Ask(fmt::format("What is {} - {}?", a, b), std::to_string(a - b));
}

Case Multiply(uint64_t seed, uint64_t index) {
  CaseRng rng(seed, "arithmetic/multiply", index);
  const int a = rng.Between(0, 9), b = rng.Between(0, 9);
  return Ask(fmt::format("What is {} * {}?", a, b), std::to_string(a * b));
}

// A reply of which two parts are missing; the request says what they are.
Case InfillList(uint64_t seed, uint64_t index) {
  CaseRng rng(seed, "infill/list", index);
  const int length = rng.Between(4, 6);
  const Strings items = DrawWords(&rng, static_cast<size_t>(length));
  const int first = rng.Between(0, length - 3);
  const int second = rng.Between(first + 2, length - 1);
  Case c = Ask(fmt::format("Copy this list: {}", fmt::join(items, ", ")), "");
  c.parts.emplace_back();
  for (int i = 0; i < length; ++i) {
    // Tokens of most vocabularies begin with their space, so it belongs to the missing part.
    const std::string& item = items[static_cast<size_t>(i)];
    if (i == first || i == second) {
      c.parts.push_back((i > 0 ? " " : "") + item);
      c.parts.push_back(i + 1 < length ? "," : "");
      c.answer += (c.answer.empty() ? "" : "\n") + item;
    } else {
      c.parts.back() += (i > 0 ? " " : "") + item + (i + 1 < length ? "," : "");
    }
  }
  return c;
}

// The sorted reply with one item missing in the middle: both sides of the hole matter.
Case InfillSort(uint64_t seed, uint64_t index) {
  CaseRng rng(seed, "infill/sort", index);
  Strings items = DrawWords(&rng, 4);
  const std::string given = fmt::format("{}", fmt::join(items, ", "));
  std::sort(items.begin(), items.end(),
            [](const std::string& a, const std::string& b) { return Lower(a) < Lower(b); });
  Case c = Ask("Sort this list alphabetically: " + given, items[1]);
  c.parts = {items[0] + ",", " " + items[1], ", " + items[2] + ", " + items[3]};
  return c;
}

}  // namespace

const std::vector<FreshTask>& FreshTasks() {
  static const std::vector<FreshTask> tasks = {
      {"grid/sudoku", "4x4 sudoku, 4 to 7 cells empty", Sudoku},
      {"grid/latin_make", "any 4x4 Latin square over four given letters", LatinMake},
      {"grid/latin_complete", "4x4 Latin square, 4 to 7 cells empty", LatinComplete},
      {"arithmetic/add", "sums of two-digit numbers", Add},
      {"arithmetic/subtract", "differences of two-digit numbers", Subtract},
      {"arithmetic/multiply", "products of digits", Multiply},
      {"infill/list", "two items missing in the middle of a copied list", InfillList},
      {"infill/sort", "one item missing in a sorted list", InfillSort},
  };
  return tasks;
}

std::vector<Case> MakeFresh(const FreshTask& task, uint64_t seed, size_t count) {
  std::vector<Case> cases;
  for (size_t i = 0; i < count; ++i) {
    cases.push_back(task.make(seed, i));
    cases.back().task = task.name;
  }
  return cases;
}

}  // namespace tessera::eval
