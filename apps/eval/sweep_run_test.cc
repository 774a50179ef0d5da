// Rows, resuming, comparing with what was recorded, and what is made of rows.
#include "apps/eval/sweep_run.h"

#include <gtest/gtest.h>

#include "apps/eval/chart.h"
#include "apps/eval/fake_model.h"
#include "apps/eval/fingerprint.h"
#include "apps/eval/results_page.h"
#include "apps/eval/targets.h"
#include "apps/eval/test_folder.h"

namespace tessera::eval {
namespace {

// Adds and subtracts rightly, unless told to be off by one.
std::string Sum(const std::string& prompt, const std::string& strategy) {
  const Strings words = Words(prompt);  // What is A op B?
  const int a = std::stoi(words.at(2)), b = std::stoi(words.at(4));
  const int result = words.at(3) == "+" ? a + b : words.at(3) == "-" ? a - b : a * b;
  return std::to_string(result + (strategy == "off" && a % 2 == 0 ? 1 : 0));
}

class SweepRun : public testing::Test {
 protected:
  SweepRun() {
    TestFolder::Write(folder_ / "config.json", "{}");
    options_.rows_path = folder_ / "rows.jsonl";
    options_.version = "0";
    options_.resolve = [this](const std::string& name) -> Result<std::string> {
      return folder_ / name;
    };
    options_.load = [this](const std::string& path) -> Result<std::unique_ptr<api::Model>> {
      ++loads_;
      auto model = std::make_unique<FakeModel>(reply_, path);
      return std::unique_ptr<api::Model>(std::move(model));
    };
  }

  Result<SweepOutcome> Run(const std::string& text) {
    const auto sweep = ParseSweep(text, "test");
    EXPECT_TRUE(sweep.ok()) << sweep.status().message();
    TaskSource tasks({});
    return RunSweep(*sweep, &tasks, options_);
  }

  TestFolder folder_;
  SweepRunOptions options_;
  FakeModel::Reply reply_ = Sum;
  int loads_ = 0;
};

constexpr const char* kSweep = "limit 4; task arithmetic; curve c; strategy {one,off}";

TEST_F(SweepRun, RecordedRowsAreNotRunAgain) {
  const auto first = Run(kSweep);
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_EQ(first->ran, 6);
  EXPECT_EQ(first->kept, 0);
  const std::string recorded = TestFolder::Read(options_.rows_path);
  const auto second = Run(kSweep);
  EXPECT_EQ(second->ran, 0);
  EXPECT_EQ(second->kept, 6);
  EXPECT_EQ(TestFolder::Read(options_.rows_path), recorded);
  EXPECT_EQ(ToCsv(second->reports), ToCsv(first->reports));
}

TEST_F(SweepRun, AnythingThatCanChangeARowIsPartOfIt) {
  ASSERT_TRUE(Run(kSweep).ok());
  const auto ran = [&](const std::string& text) { return Run(text)->ran; };
  EXPECT_EQ(ran(std::string(kSweep) + "; seed 1"), 6) << "other cases";
  EXPECT_EQ(ran(std::string(kSweep) + "; temperature 1"), 6);
  EXPECT_EQ(ran(std::string(kSweep) + "; max-tokens 8"), 6);
  EXPECT_EQ(ran(std::string(kSweep) + "; batch 1"), 6);
  EXPECT_EQ(ran(kSweep), 0) << "the first rows are still there";
  options_.version = "1";
  EXPECT_EQ(ran(kSweep), 6) << "another version";
  TestFolder::Write(folder_ / "config.json", "{\"changed\": 1}");
  EXPECT_EQ(ran(kSweep), 6) << "another model";
}

TEST_F(SweepRun, AnUnfinishedLastLineIsDropped) {
  ASSERT_TRUE(Run(kSweep).ok());
  const std::string recorded = TestFolder::Read(options_.rows_path);
  const size_t last = recorded.rfind('\n', recorded.size() - 2) + 1;
  TestFolder::Write(options_.rows_path, recorded.substr(0, last + 30));
  const auto outcome = Run(kSweep);
  ASSERT_TRUE(outcome.ok()) << outcome.status().message();
  EXPECT_EQ(outcome->ran, 1);
  EXPECT_EQ(outcome->kept, 5);
  EXPECT_EQ(ReadRows(options_.rows_path)->size(), 6u);
}

TEST_F(SweepRun, ABadLineIsAnErrorThatNamesIt) {
  ASSERT_TRUE(Run(kSweep).ok());
  const std::string recorded = TestFolder::Read(options_.rows_path);
  for (const char* bad : {"{}\n", "not json\n", "[1]\n", "{\"version\": 3}\n"}) {
    TestFolder::Write(options_.rows_path, recorded + bad);
    const auto outcome = Run(kSweep);
    ASSERT_FALSE(outcome.ok()) << bad;
    EXPECT_NE(outcome.status().message().find("rows.jsonl:7: "), std::string::npos)
        << outcome.status().message();
  }
}

TEST_F(SweepRun, AKilledSweepGoesOnWhereItWas) {
  int steps = 0;
  options_.keep_going = [&] { return ++steps < 20; };
  const auto stopped = Run(kSweep);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.status().code(), StatusCode::kCancelled);
  const auto before = static_cast<int64_t>(ReadRows(options_.rows_path)->size());
  EXPECT_GT(before, 0);
  EXPECT_LT(before, 6);
  options_.keep_going = nullptr;
  const auto rest = Run(kSweep);
  EXPECT_EQ(rest->kept, before);
  EXPECT_EQ(rest->ran, 6 - before);
}

TEST_F(SweepRun, OnlyRunsWhatItNamesAndCompares) {
  ASSERT_TRUE(Run(kSweep).ok());
  options_.only = {"off"};
  options_.fresh = true;
  const auto same = Run(kSweep);
  EXPECT_EQ(same->ran, 3);
  EXPECT_EQ(same->reproduced, 3);
  EXPECT_TRUE(same->changed.empty());
  EXPECT_EQ(same->reports[0].cells.size(), 2u) << "the others are reported from their records";
  EXPECT_EQ(ReadRows(options_.rows_path)->size(), 6u) << "replaced, not added";

  reply_ = [](const std::string& prompt, const std::string&) { return Sum(prompt, "one"); };
  const auto other = Run(kSweep);
  EXPECT_EQ(other->ran, 3);
  EXPECT_FALSE(other->changed.empty());
  EXPECT_NE(other->changed[0].find("recorded"), std::string::npos) << other->changed[0];

  options_.only = {"nothing of that name"};
  EXPECT_FALSE(Run(kSweep).ok());
}

TEST_F(SweepRun, RefusedRowsAreReportedAndTriedAgain) {
  const auto outcome = Run("limit 2; task arithmetic/add; strategy {one,broken}");
  ASSERT_TRUE(outcome.ok());
  const Cell* refused = outcome->reports[0].Find(0, 1);
  ASSERT_NE(refused, nullptr);
  EXPECT_NE(refused->refused.find("cannot do that"), std::string::npos);
  EXPECT_EQ(Run("limit 2; task arithmetic/add; strategy {one,broken}")->ran, 1);
  EXPECT_NE(MakePage(outcome->reports, {}).find("refused: "), std::string::npos);
}

// Two of the three tasks would say something else than all of them.
TEST_F(SweepRun, AGroupWithARefusedTaskHasNoFigures) {
  options_.load = [this](const std::string& path) -> Result<std::unique_ptr<api::Model>> {
    auto model = std::make_unique<FakeModel>(reply_, path);
    model->mutable_info().mask_id = -1;  // cannot infill
    return std::unique_ptr<api::Model>(std::move(model));
  };
  const auto outcome = Run("limit 2; task both=arithmetic/add,infill/sort; strategy one");
  ASSERT_TRUE(outcome.ok());
  const Cell& cell = *outcome->reports[0].Find(0, 0);
  EXPECT_EQ(cell.rows.size(), 1u);
  EXPECT_EQ(cell.sum.graded, 0);
  EXPECT_FALSE(cell.complete());
  EXPECT_TRUE(outcome->reports[0].curves.empty());
  EXPECT_NE(MakePage(outcome->reports, {}).find("| refused: infill/sort"), std::string::npos);
  EXPECT_FALSE(ToJson(outcome->reports[0])["rows"][0].contains("accuracy"));
}

TEST_F(SweepRun, UnknownStrategiesStopItBeforeItStarts) {
  const auto outcome = Run("task arithmetic/add; strategy {one,nonsense}");
  ASSERT_FALSE(outcome.ok());
  EXPECT_TRUE(ReadRows(options_.rows_path)->empty());
}

TEST_F(SweepRun, GroupsPoolTheirTasks) {
  const auto outcome = Run("limit 4; task both=arithmetic/add,arithmetic/subtract; strategy off");
  ASSERT_TRUE(outcome.ok());
  const Cell& cell = *outcome->reports[0].Find(0, 0);
  ASSERT_EQ(cell.rows.size(), 2u);
  EXPECT_EQ(cell.sum.graded, 8);
  EXPECT_EQ(cell.sum.score, cell.rows[0].result.score + cell.rows[1].result.score);
  EXPECT_LT(cell.sum.score, 8) << "even first numbers are answered wrongly";
  EXPECT_GT(cell.sum.score, 0);
  EXPECT_EQ(cell.sum.tokens, cell.sum.forwards()) << "the fake model places one per step";
  const auto json = ToJson(outcome->reports[0]);
  EXPECT_EQ(json["rows"][0]["tasks"].size(), 2u);
  const std::string csv = ToCsv(outcome->reports);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 4) << "titles, the group, two tasks";
}

TEST_F(SweepRun, PageAndChartHoldEveryRow) {
  const auto outcome =
      Run("grid A & B; limit 4; limits on; note Prose.; task arithmetic/add; strategy {one,off}");
  ASSERT_TRUE(outcome.ok());
  const std::string page =
      MakePage(outcome->reports, {.command = "make", .sweep = "s.sweep", .charts = {"c.svg"}});
  for (const char* part : {"## A & B", "Prose.", "| `one` | 100.0 |", "| `off` |", "![", "(c.svg)",
                           "18.5", "### Closed-form limits", "`make`"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part << "\n" << page;
  }
  const std::string chart = DrawChart(outcome->reports[0]);
  EXPECT_NE(chart.find(">A &amp; B<"), std::string::npos);
  EXPECT_NE(chart.find("one: 100.0 % (51.0 to 100.0), 1.00 tokens per forward"), std::string::npos)
      << chart;
  EXPECT_EQ(chart.find("nan"), std::string::npos);
  const auto count = [&](const std::string& tag) {
    size_t n = 0;
    for (size_t at = chart.find(tag); at != chart.npos; at = chart.find(tag, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("<g>") + count("<g "), count("</g>"));
  EXPECT_EQ(count("<title>"), 2u);
}

// Even first numbers are answered wrongly by "off": half of the cases or so.
TEST_F(SweepRun, TargetsAreJudgedByTheirBestRow) {
  const auto outcome =
      Run("limit 8; task arithmetic/add; strategy one; curve c; strategy {off,two}\n"
          "target even | arithmetic/add | forwards 1 | 0 | c\n"
          "target twice | arithmetic/add | forwards 2 | 0 | c\n"
          "reason The fake model places one token per step.\n"
          "target none | arithmetic/add | forwards 1 | 0 | d\n"
          "target all back | arithmetic/add | recovered 1 | off | *\n"
          "target cheaper | arithmetic/add | against 1 | c | c\n");
  ASSERT_TRUE(outcome.ok()) << outcome.status().message();
  const std::vector<TargetOutcome> judged = JudgeTargets(outcome->reports[0]);
  ASSERT_EQ(judged.size(), 5u);
  EXPECT_TRUE(judged[0].reached) << "`two` is right as often as `one`, at the same cost";
  EXPECT_EQ(judged[0].best->entry, 2u);
  EXPECT_EQ(judged[0].value, 1);
  EXPECT_FALSE(judged[1].reached);
  EXPECT_EQ(judged[2].best, nullptr);
  EXPECT_TRUE(judged[3].reached);
  EXPECT_EQ(judged[3].value, 1);
  EXPECT_FALSE(judged[4].reached) << "a curve is never cheaper than itself";
  const std::string page = MakePage(outcome->reports, {});
  for (const char* part :
       {"## Targets", "| even | sweep, arithmetic/add | 1× fewer forwards than `one`, at most 0",
        "1.00×, 100.0 % right: ", "| yes |", "| none | **no** |",
        "- twice: The fake model places one token per step."}) {
    EXPECT_NE(page.find(part), std::string::npos) << part << "\n" << page;
  }
}

TEST(Rows, SurviveJson) {
  Row row;
  row.settings = {.version = "0.1.0/1",
                  .model = "m",
                  .model_hash = "h",
                  .dtype = "bf16",
                  .device = "cpu",
                  .strategy = "threshold=0.9,cache=\"dual\"",
                  .task = "t",
                  .cases_hash = "c",
                  .cases = 10,
                  .batch = 8,
                  .max_tokens = 64,
                  .temperature = 0.7,
                  .seed = 18446744073709551615u};
  row.result.cases = row.result.graded = 10;
  row.result.score = 1.0 / 3;
  row.result.window = 7;
  row.result.nll = 0.1;
  row.result.drift_forwards = 3;
  row.result.drift_sum = 0.25;
  row.machine = "a machine";
  const auto again = RowFromJson(nlohmann::json::parse(ToJson(row).dump()));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again->settings, row.settings);
  EXPECT_EQ(again->result.score, row.result.score);
  EXPECT_EQ(again->result.window, 7);
  EXPECT_EQ(again->result.nll, 0.1);
  EXPECT_EQ(again->result.drift(), 0.25 / 3);
  EXPECT_EQ(again->machine, "a machine");
  for (const char* field : {"strategy", "seed", "run", "cases", "temperature"}) {
    auto json = nlohmann::json::parse(ToJson(row).dump());
    json.erase(field);
    EXPECT_FALSE(RowFromJson(json).ok()) << field;
    json[field] = nullptr;
    EXPECT_FALSE(RowFromJson(json).ok()) << field;
  }
  auto json = nlohmann::json::parse(ToJson(row).dump());
  json["score"] = -1;
  EXPECT_FALSE(RowFromJson(json).ok());
}

TEST(Fingerprints, NoticeEveryFileThatMatters) {
  TestFolder folder;
  TestFolder::Write(folder / "config.json", "{}");
  TestFolder::Write(folder / "model.safetensors", std::string(3 << 20, 'a'));
  const auto hash = [&] { return *FingerprintOfModel(folder / ""); };
  const std::string before = hash();
  EXPECT_EQ(hash(), before);
  TestFolder::Write(folder / "README.md", "words");
  TestFolder::Write(folder / "training.json", "{}");
  EXPECT_EQ(hash(), before) << "these change no output";
  std::string weights(3 << 20, 'a');
  weights[2'000'000] = 'b';
  TestFolder::Write(folder / "model.safetensors", weights);
  const std::string changed = hash();
  EXPECT_NE(changed, before);
  TestFolder::Write(folder / "tokenizer.json", "{}");
  EXPECT_NE(hash(), changed);
  EXPECT_FALSE(FingerprintOfModel(folder / "nowhere").ok());
}

}  // namespace
}  // namespace tessera::eval
