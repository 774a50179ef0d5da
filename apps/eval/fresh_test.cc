// Everything that makes cases: the same for the same seed, unseen by training, right by its grader.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "apps/eval/errors.h"
#include "apps/eval/fresh_tasks.h"
#include "apps/eval/graders.h"
#include "apps/eval/grids.h"
#include "apps/eval/parallel_bench.h"
#include "apps/eval/words.h"

namespace tessera::eval {
namespace {

TEST(Words, AreAllHeldOut) {
  for (const Strings* list : {&FirstNames(), &LastNames(), &PlainWords()}) {
    EXPECT_EQ(std::set<std::string>(list->begin(), list->end()).size(), list->size());
    for (const std::string& word : *list) EXPECT_TRUE(IsHeldOut(word)) << word;
  }
  EXPECT_FALSE(IsHeldOut("banana"));
  EXPECT_FALSE(IsHeldOut("Emma"));
}

TEST(Rng, DependsOnSeedStreamAndIndexOnly) {
  const auto draw = [](uint64_t seed, const char* stream, uint64_t index) {
    return CaseRng(seed, stream, index).Below(1'000'000'007);
  };
  EXPECT_EQ(draw(1, "a", 2), draw(1, "a", 2));
  EXPECT_NE(draw(1, "a", 2), draw(2, "a", 2));
  EXPECT_NE(draw(1, "a", 2), draw(1, "b", 2));
  EXPECT_NE(draw(1, "a", 2), draw(1, "a", 3));
  CaseRng rng(1, "range", 0);
  std::set<int> seen;
  for (int i = 0; i < 200; ++i) seen.insert(rng.Between(3, 6));
  EXPECT_EQ(seen, (std::set<int>{3, 4, 5, 6}));
}

// Known counts of order 4.
TEST(Grids, AreAllSquaresOfOrderFour) {
  EXPECT_EQ(LatinSquares().size(), 576u);
  EXPECT_EQ(Sudokus().size(), 288u);
}

TEST(Grids, PuzzlesHaveOneSolution) {
  for (uint64_t i = 0; i < 50; ++i) {
    CaseRng rng(3, "puzzle", i);
    const GridPuzzle puzzle = MakeGridPuzzle(&rng, LatinSquares(), 7);
    const auto fits = [&](const Square& square) {
      for (int cell = 0; cell < 16; ++cell) {
        const bool hole =
            std::find(puzzle.holes.begin(), puzzle.holes.end(), cell) != puzzle.holes.end();
        const auto at = static_cast<size_t>(cell);
        if (!hole && square[at] != puzzle.solution[at]) return false;
      }
      return true;
    };
    EXPECT_EQ(std::count_if(LatinSquares().begin(), LatinSquares().end(), fits), 1);
    EXPECT_FALSE(puzzle.holes.empty());
  }
}

std::string Describe(const Case& c) {
  std::string text = c.task + "|" + c.answer + "|" + c.grader + "|" + c.meta.dump();
  for (const api::Message& message : c.messages) text += "|" + message.role + message.content;
  for (const std::string& part : c.parts) text += "/" + part;
  return text;
}

void ExpectSame(const std::vector<Case>& a, const std::vector<Case>& b, size_t count) {
  ASSERT_GE(a.size(), count);
  ASSERT_GE(b.size(), count);
  for (size_t i = 0; i < count; ++i) EXPECT_EQ(Describe(a[i]), Describe(b[i]));
}

TEST(FreshTasks, AreTheSameForTheSameSeed) {
  for (const FreshTask& task : FreshTasks()) {
    const auto cases = MakeFresh(task, 7, 20);
    ExpectSame(cases, MakeFresh(task, 7, 40), 20);
    bool differs = false;
    const auto other = MakeFresh(task, 8, 20);
    for (size_t i = 0; i < 20; ++i) differs = differs || Describe(cases[i]) != Describe(other[i]);
    EXPECT_TRUE(differs) << task.name;
  }
}

TEST(FreshTasks, AnswersAreRight) {
  for (const FreshTask& task : FreshTasks()) {
    for (const Case& c : MakeFresh(task, 7, 50)) {
      ASSERT_TRUE(CheckGrader(c.grader, c.meta).ok());
      if (c.grader == "latin") continue;  // any square
      EXPECT_TRUE(Grade(c.answer, c)->right()) << Describe(c);
      EXPECT_FALSE(Grade(c.answer + "x", c)->right());
    }
  }
}

int Number(const std::string& text, size_t word) { return std::stoi(Words(text).at(word)); }

TEST(FreshTasks, SumsAddUp) {
  for (const FreshTask& task : FreshTasks()) {
    const std::string name = task.name;
    if (!name.starts_with("arithmetic/")) continue;
    for (const Case& c : MakeFresh(task, 1, 30)) {  // "What is A op B?"
      const std::string& request = c.messages[0].content;
      const int a = Number(request, 2), b = Number(request, 4);
      const int wanted = name.ends_with("add") ? a + b : name.ends_with("multiply") ? a * b : a - b;
      EXPECT_EQ(c.answer, std::to_string(wanted)) << request;
      EXPECT_GE(wanted, 0);
    }
  }
}

TEST(FreshTasks, PartsOfAnInfilledReplyMakeTheReply) {
  for (const FreshTask& task : FreshTasks()) {
    if (!std::string(task.name).starts_with("infill/")) continue;
    for (const Case& c : MakeFresh(task, 1, 30)) {
      std::string whole;
      Strings missing;
      for (size_t i = 0; i < c.parts.size(); ++i) {
        whole += c.parts[i];
        if (i % 2 == 1) missing.emplace_back(Strip(c.parts[i]));
      }
      EXPECT_EQ(c.answer, fmt::format("{}", fmt::join(missing, "\n")));
      Strings reply = Split(whole, ", ");
      Strings request = Split(Split(c.messages[0].content, ": ").at(1), ", ");
      if (task.name == std::string("infill/sort")) {
        EXPECT_EQ(Sorted(reply), Sorted(request));
      } else {
        EXPECT_EQ(reply, request);
      }
    }
  }
}

// By value: a range over a part of a temporary would outlive it.
std::vector<Case> Fresh(const PbTask& task, uint64_t seed, size_t count, int length) {
  Result<std::vector<Case>> cases = MakePb(task, seed, count, length);
  EXPECT_TRUE(cases.ok()) << cases.status().message();
  return cases.ok() ? *std::move(cases) : std::vector<Case>();
}

TEST(ParallelBench, FreshCasesAreTheSameForTheSameSeed) {
  for (const PbTask& task : PbTasks()) {
    if (!task.fresh) continue;
    const std::vector<Case> cases = Fresh(task, 5, 8, 0);
    ExpectSame(cases, Fresh(task, 5, 12, 0), 8);
    EXPECT_NE(Describe(cases.at(0)), Describe(Fresh(task, 6, 8, 0).at(0)));
  }
}

// The benchmark's oracle: its own answers score 100, leniently and strictly.
void ExpectAnswersRight(const PbTask& task, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    if (c.answer.empty()) continue;  // words_to_sentence without an example
    const Verdict verdict = *Grade(c.answer, c);
    EXPECT_EQ(verdict.score, 1) << task.name << ": " << Describe(c);
    EXPECT_EQ(verdict.strict, 1) << task.name << ": " << Describe(c);
    if (c.grader == "pb_words" || c.grader == "rouge_l") continue;
    EXPECT_EQ(Grade("", c)->score, 0);
    EXPECT_EQ(Grade("[\"" + c.answer, c)->strict, 0);
  }
}

TEST(ParallelBench, FreshAnswersAreRight) {
  for (const PbTask& task : PbTasks()) {
    if (task.fresh) ExpectAnswersRight(task, Fresh(task, 5, 20, 0));
  }
}

TEST(ParallelBench, FreshListsHaveTheLengthAskedFor) {
  const PbTask& task = *FindPbTask("waiting_line/shuffle");
  for (const Case& c : Fresh(task, 5, 6, 4)) EXPECT_EQ(c.meta["items"].size(), 4u);
  std::set<size_t> lengths;
  for (const Case& c : Fresh(task, 5, 8, 0)) lengths.insert(c.meta["items"].size());
  EXPECT_EQ(lengths, (std::set<size_t>{3, 4, 5, 6}));
  EXPECT_FALSE(MakePb(task, 5, 1, 1).ok());
  EXPECT_FALSE(MakePb(*FindPbTask("puzzle/sudoku_n4_12"), 5, 1, 4).ok());
}

TEST(ParallelBench, ExamplesAreEarlierTurns) {
  for (const Case& c : Fresh(*FindPbTask("waiting_line/insert_index"), 5, 3, 0)) {
    ASSERT_EQ(c.messages.size(), 3u);
    EXPECT_EQ(c.messages[1].role, "assistant");
    EXPECT_TRUE(c.messages[2].content.starts_with("Insert \"")) << c.messages[2].content;
  }
}

TEST(ParallelBench, OwnFilesScoreFullMarksWithTheirAnswers) {
  const std::string data = std::string(TESSERA_SOURCE_DIR) + "/../shared/data/benchmarks";
  if (!std::filesystem::exists(data + "/ParallelBench")) {
    GTEST_SKIP() << "shared data folder is absent: " << data;
  }
  for (const PbTask& task : PbTasks()) {
    const auto cases = ReadPb(task, data);
    if (task.refused != nullptr) {
      EXPECT_FALSE(cases.ok());
      EXPECT_NE(cases.status().message().find("BERTScore"), std::string::npos);
      continue;
    }
    ASSERT_TRUE(cases.ok()) << cases.status().message();
    EXPECT_EQ(cases->size(), task.name == std::string("puzzle/sudoku_n4_12") ? 108u : 100u);
    // The examples of words_to_sentence inflect some words.
    if (!std::string(task.name).starts_with("words_to_sentence")) ExpectAnswersRight(task, *cases);
  }
}

TEST(ParallelBench, HostileLinesAreRefusedByNumber) {
  const PbTask& task = *FindPbTask("waiting_line/insert_random");
  const std::string good =
      R"({"input":{"context":"[\"a\"]","word":"b"},"answer":{"input":["a"],"word":"b",)"
      R"("example":"[\"a\", \"b\"]"}})";
  ASSERT_TRUE(ParsePb(task, good, "f").ok());
  for (const char* bad :
       {"x", "[]", "{}", R"({"input":3,"answer":"a"})", R"({"input":{},"answer":"a"})",
        R"({"input":{"context":"[]","word":7.5},"answer":"a"})",
        R"({"input":{"context":"[]","word":"b"},"answer":7})",
        R"({"input":{"context":"[]","word":"b"},"answer":{"example":"x"}})",
        R"({"input":{"context":"[]","word":"b"},"answer":{"input":[1],"word":"b","example":""}})",
        R"({"input":{"context":"[]","word":"b","icl_examples":3},"answer":"a"})",
        R"({"input":{"context":"[]","word":"b","icl_examples":[[]]},"answer":"a"})"}) {
    const auto cases = ParsePb(task, good + "\n" + bad, "f.jsonl");
    ASSERT_FALSE(cases.ok()) << bad;
    EXPECT_TRUE(cases.status().message().starts_with("f.jsonl:2: ")) << cases.status().message();
  }
  EXPECT_FALSE(ParsePb(task, "\n \n", "f").ok());
  EXPECT_FALSE(ReadPb(task, "/nowhere/at/all").ok());
}

}  // namespace
}  // namespace tessera::eval
