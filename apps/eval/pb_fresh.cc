#include "apps/eval/pb_fresh.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/eval/errors.h"
#include "apps/eval/grids.h"
#include "apps/eval/rng.h"
#include "apps/eval/text.h"
#include "apps/eval/words.h"

namespace tessera::eval {
namespace {

using Json = nlohmann::ordered_json;

std::string ListText(const Strings& items) {
  return fmt::format("[\"{}\"]", fmt::join(items, "\", \""));
}

// One line of waiting_line; `kind` is the last part of the task's name.
Json WaitingLine(CaseRng* rng, std::string_view kind, int length) {
  Strings names = DrawNames(rng, static_cast<size_t>(length) + 1);
  const std::string word = names.back();
  names.pop_back();
  Json input = {{"context", ListText(names)}};
  const bool with_word = kind.starts_with("insert") || kind.starts_with("replace");
  if (with_word) input["word"] = word;
  const int last = length - (kind.starts_with("insert") ? 0 : 1);
  const int index = rng->Between(0, last);
  if (kind.ends_with("_index")) input["index"] = index;

  Strings answer = names;
  if (kind == "reverse") std::reverse(answer.begin(), answer.end());
  if (kind == "sort") answer = Sorted(answer);
  while (kind == "shuffle" && answer == names) rng->Shuffle(&answer);
  if (kind.starts_with("insert")) answer.insert(answer.begin() + index, word);
  if (kind.starts_with("remove")) answer.erase(answer.begin() + index);
  if (kind.starts_with("replace")) answer[static_cast<size_t>(index)] = word;

  Json line = {{"input", input}};
  if (kind == "shuffle" || kind.ends_with("_random")) {
    line["answer"] = {{"input", names}, {"example", ListText(answer)}};
    if (with_word) line["answer"]["word"] = word;
  } else {
    line["answer"] = ListText(answer);
  }
  line["metadata"] = {{"length", length}};
  return line;
}

Json LatinSquare(CaseRng* rng) {
  std::vector<std::string> symbols;
  for (const char c : std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZ123456789")) {
    symbols.emplace_back(1, c);
  }
  rng->Shuffle(&symbols);
  symbols.resize(4);
  Strings cells;
  for (const int symbol : LatinSquares()[rng->Below(LatinSquares().size())]) {
    cells.push_back(symbols[static_cast<size_t>(symbol)]);
  }
  return {{"input", {{"size", 4}, {"symbols", fmt::format("[{}]", fmt::join(symbols, ", "))}}},
          {"answer", {{"symbols", symbols}, {"example", GridText(cells, ",")}}},
          {"metadata", {{"length", 4}}}};
}

Json Sudoku(CaseRng* rng) {
  const GridPuzzle puzzle = MakeGridPuzzle(rng, Sudokus(), /*holes=*/4);
  Strings cells;
  for (const int symbol : puzzle.solution) cells.push_back(std::to_string(symbol + 1));
  const std::string answer = GridText(cells, "");
  for (const int hole : puzzle.holes) cells[static_cast<size_t>(hole)] = "0";
  return {{"input", {{"sudoku", GridText(cells, "")}}},
          {"answer", answer},
          {"metadata", {{"length", 12}}}};
}

// Words of one everyday scene, of neighbouring ones, or of anything: what makes the benchmark's
// easy, medium and hard.
Json WordsToSentence(CaseRng* rng, std::string_view kind) {
  static const std::vector<Strings> scenes = {
      Words("dog garden bone dig chase"),         Words("cook pot soup spoon kitchen"),
      Words("rain umbrella street wet coat"),     Words("child story bed moon sleep"),
      Words("boat river fish net morning"),       Words("teacher book school read lesson"),
      Words("baker bread oven warm flour"),       Words("farmer field tractor corn dust"),
      Words("nurse hospital bandage smile night")};
  static const Strings odd = Words("theorem lantern cactus tariff glacier violin plasma ladder");
  Strings words = scenes[rng->Below(scenes.size())];
  if (kind != "easy") {
    const Strings& other = scenes[rng->Below(scenes.size())];
    words.insert(words.end(), other.begin(), other.end());
  }
  if (kind == "hard") words = odd;
  rng->Shuffle(&words);
  Strings chosen;
  for (const std::string& word : words) {
    const bool known = std::find(chosen.begin(), chosen.end(), word) != chosen.end();
    if (!known && chosen.size() < 4) chosen.push_back(word);
  }
  const std::string list =
      fmt::format("{}, {}, {}, and {}", chosen[0], chosen[1], chosen[2], chosen[3]);
  return {{"input", {{"words", list}}}, {"answer", {{"words", chosen}}}};
}

}  // namespace

Result<std::string> FreshPbLines(std::string_view task, uint64_t seed, size_t count, int length) {
  const std::string_view family = task.substr(0, task.find('/'));
  const std::string_view kind = task.substr(std::min(task.find('/') + 1, task.size()));
  const bool lists = family.starts_with("waiting_line");
  if (length != 0 && (!lists || length < 2 || length > 50)) {
    return BadRequest("{}: length {}; accepted: 2..50 items, for waiting_line tasks", task, length);
  }
  std::string lines;
  for (size_t i = 0; i < count; ++i) {
    CaseRng rng(seed, task, i);
    const int turn = family == "waiting_line_n15" ? 15 : 3 + static_cast<int>(i % 4);
    const int items = length == 0 ? turn : length;
    const auto make = [&]() -> Json {
      if (lists) return WaitingLine(&rng, kind, items);
      if (family == "words_to_sentence") return WordsToSentence(&rng, kind);
      return kind == "sudoku_n4_12" ? Sudoku(&rng) : LatinSquare(&rng);
    };
    Json line = make();
    // The example shows what the instruction leaves open: zero-based indices, the form of the
    // answer.
    if (family != "words_to_sentence") line["input"]["icl_examples"] = Json::array({make()});
    lines += line.dump() + "\n";
  }
  return lines;
}

}  // namespace tessera::eval
