#include "apps/eval/sweep.h"

#include <gtest/gtest.h>

#include "apps/eval/gsm8k.h"
#include "apps/eval/tasks.h"

namespace tessera::eval {
namespace {

TEST(ExpandBraces, GivesEveryCombination) {
  EXPECT_EQ(*ExpandBraces("plain"), (Strings{"plain"}));
  EXPECT_EQ(*ExpandBraces("a={1,2},b={x,y}"),
            (Strings{"a=1,b=x", "a=1,b=y", "a=2,b=x", "a=2,b=y"}));
  EXPECT_EQ(*ExpandBraces("{ar,lookup}"), (Strings{"ar", "lookup"}));
  for (const char* bad : {"a={1,2", "a=1}", "a={}", "a={1,{2}}"}) {
    EXPECT_FALSE(ExpandBraces(bad).ok()) << bad;
  }
  std::string bomb;
  for (int i = 0; i < 40; ++i) bomb += "{0,1}";
  EXPECT_FALSE(ExpandBraces(bomb).ok());
}

TEST(ParseSweep, ReadsGridsWithTheirOwnSettings) {
  const auto sweep = ParseSweep(
      "limit 5  # of each task\n"
      "seed 9\n"
      "grid one\n"
      "note A; B # C\n"
      "task lists=a,b c\n"
      "model m\n"
      "curve t\n"
      "strategy threshold={2,0.5}\n"
      "model ar; strategy ar\n"
      "grid two; limit 7; temperature 0.5; batch 1; max-tokens 32; limits on\n"
      "task a; strategy x\n",
      "f");
  ASSERT_TRUE(sweep.ok()) << sweep.status().message();
  ASSERT_EQ(sweep->grids.size(), 2u);
  const SweepGrid& one = sweep->grids[0];
  EXPECT_EQ(one.settings.limit, 5);
  EXPECT_EQ(one.settings.seed, 9u);
  EXPECT_EQ(one.notes, (Strings{"A; B # C"}));
  ASSERT_EQ(one.groups.size(), 2u);
  EXPECT_EQ(one.groups[0].name, "lists");
  EXPECT_EQ(one.groups[0].tasks, (Strings{"a", "b"}));
  EXPECT_EQ(one.groups[1].tasks, (Strings{"c"}));
  ASSERT_EQ(one.entries.size(), 3u);
  EXPECT_EQ(one.entries[1].strategy, "threshold=0.5");
  EXPECT_EQ(one.entries[1].curve, "t");
  EXPECT_EQ(one.entries[2].model, "ar");
  EXPECT_EQ(one.entries[2].curve, "") << "a model begins without a curve";
  const SweepGrid& two = sweep->grids[1];
  EXPECT_EQ(two.settings.limit, 7);
  EXPECT_EQ(two.settings.seed, 9u);
  EXPECT_EQ(two.settings.temperature, 0.5);
  EXPECT_EQ(two.settings.batch, 1);
  EXPECT_TRUE(two.limits);
  EXPECT_EQ(two.entries[0].model, "");
}

TEST(ParseSweep, ReadsTargetsWithTheirReasons) {
  const auto sweep = ParseSweep(
      "task a b; against t\n"
      "target fast | a | forwards 3.5 | 1 | t | other, curve\n"
      "reason A; B # C\n"
      "target joint | b | recovered 0.5 | quota=8 | *\n"
      "strategy x",
      "f");
  ASSERT_TRUE(sweep.ok()) << sweep.status().message();
  const SweepGrid& grid = sweep->grids[0];
  EXPECT_EQ(grid.against, "t");
  ASSERT_EQ(grid.targets.size(), 2u);
  EXPECT_EQ(grid.targets[0].group, "a");
  EXPECT_EQ(grid.targets[0].factor, 3.5);
  EXPECT_EQ(grid.targets[0].points, 1);
  EXPECT_EQ(grid.targets[0].curves, (Strings{"t", "other, curve"}));
  EXPECT_EQ(grid.targets[0].reason, "A; B # C");
  EXPECT_EQ(grid.targets[1].reference, "quota=8");
  EXPECT_EQ(grid.targets[1].measure, SweepTarget::Measure::kRecovered);
}

TEST(ParseSweep, ErrorsNameTheLineAndWhatIsAccepted) {
  const struct {
    const char* text;
    const char* part;
  } cases[] = {{"task a\nstrategie x", "f:2: 'strategie'; accepted: grid, limit"},
               {"limit many", "f:1: got 'many', accepted: an integer"},
               {"limit -1", "f:1: got '-1'"},
               {"batch 0", "f:1: got '0'"},
               {"seed 99999999999999999999", "f:1: got"},
               {"temperature nan", "f:1: got 'nan', accepted: a number"},
               {"temperature 1x", "f:1: got '1x'"},
               {"limits maybe", "f:1: limits"},
               {"task a\ntarget n | a | forwards 3", "f:2: target 'n | a | forwards 3'; accepted"},
               {"task a; target n | a | forwards x | 1 | c", "numbers as factor and points"},
               {"task a; target n | a | forwards 3 | x | c", "numbers as factor and points"},
               {"task a; target n | a | luck 3 | 1 | c", "measure 'luck'; accepted: forwards"},
               {"task a; target n | b | forwards 3 | 1 | c", "no task group 'b'"},
               {"task a; reason why", "'reason' stands after a target"},
               {"grid", "f:1: 'grid' needs a value"},
               {"grid a\ngrid a", "f:2: a second grid"},
               {"task a a", "f:1: a second task group 'a'"},
               {"task x=a,", "f:1: task 'x=a,': an empty name"},
               {"strategy x; strategy x", "f:1: strategy 'x' for the second time"},
               {"strategy {", "f:1: '{'"},
               {"", "f: no strategy"},
               {"task a", "has no strategy"},
               {"strategy x", "has no task"}};
  for (const auto& c : cases) {
    const auto sweep = ParseSweep(c.text, "f");
    ASSERT_FALSE(sweep.ok()) << c.text;
    EXPECT_NE(sweep.status().message().find(c.part), std::string::npos)
        << c.text << ": " << sweep.status().message();
  }
}

TEST(Tasks, FoldersStandForTheirTasks) {
  TaskSource tasks({.heldout = std::string(TESSERA_SOURCE_DIR) + "/models/heldout.jsonl"});
  EXPECT_EQ(*tasks.Expand("arithmetic"),
            (Strings{"arithmetic/add", "arithmetic/subtract", "arithmetic/multiply"}));
  EXPECT_EQ(tasks.Expand("parallelbench/waiting_line")->size(), 10u)
      << "not waiting_line_n15, whose name only begins alike";
  EXPECT_EQ(tasks.Expand("parallelbench/waiting_line@4")->front(),
            "parallelbench/waiting_line/copy@4");
  EXPECT_EQ(tasks.Expand("heldout")->size(), 22u);
  EXPECT_EQ(tasks.Cases("heldout/copy", 0, 6)->size(), 6u);
  EXPECT_EQ(tasks.Cases("parallelbench/waiting_line/copy@4", 0, 3)->size(), 3u);
}

TEST(Tasks, RefusalsSayWhy) {
  TaskSource tasks({});
  const struct {
    const char* name;
    const char* part;
  } cases[] = {
      {"nothing", "no task 'nothing'; accepted"},
      {"gsm8k", "--data"},
      {"parallelbench/paraphrase_summarize/chatgpt-paraphrases", "BERTScore"},
      {"parallelbench/paraphrase_summarize/samsum", "--data"},
      {"grid/sudoku@4", "@ is for"},
      {"parallelbench/waiting_line/copy@99", "2..50"},
      {"parallelbench/waiting_line/copy@", "2..50"},
      {"likelihood", "--cases"},
      {"heldout", "no task"},
      {"", "no task"},
  };
  for (const auto& c : cases) {
    const auto names = tasks.Expand(c.name);
    ASSERT_FALSE(names.ok()) << c.name;
    EXPECT_NE(names.status().message().find(c.part), std::string::npos) << names.status().message();
  }
  TaskSource broken({.heldout = "/nowhere.jsonl"});
  EXPECT_FALSE(broken.List().ok()) << "a file that was named must be there";
}

TEST(Gsm8k, ReadsQuestionsAndRefusesTheRest) {
  const auto cases = ParseGsm8k("{\"question\": \"1+1?\", \"answer\": \"1+1=2\\n#### 2\"}\n", "q");
  ASSERT_TRUE(cases.ok());
  EXPECT_TRUE((*cases)[0].messages[0].content.starts_with("1+1?"));
  for (const char* bad : {"[]", "{}", "{\"question\": 1, \"answer\": \"#### 2\"}",
                          "{\"question\": \"a\", \"answer\": \"2\"}",
                          "{\"question\": \"a\", \"answer\": \"#### two\"}", "{\"question\""}) {
    const auto refused = ParseGsm8k(std::string("\n") + bad, "q");
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_TRUE(refused.status().message().starts_with("q:2: ")) << refused.status().message();
  }
  EXPECT_FALSE(ReadGsm8k("/nowhere").ok());
  EXPECT_FALSE(ReadGsm8k(std::string(TESSERA_SOURCE_DIR) + "/models").ok());
}

}  // namespace
}  // namespace tessera::eval
