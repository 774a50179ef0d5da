#include "apps/eval/recording.h"

#include <gtest/gtest.h>

#include "apps/eval/errors.h"
#include "apps/eval/fake_model.h"
#include "apps/eval/test_folder.h"

namespace tessera::eval {
namespace {

std::string Twice(const std::string& prompt, const std::string&) { return prompt + prompt; }

class Recording : public testing::Test {
 protected:
  // Two requests, their steps in turn as in a batch.
  std::string Record() {
    const std::string path = folder_ / "steps.jsonl";
    auto recorder = Recorder::Open(path, "0.1");
    EXPECT_TRUE(recorder.ok());
    std::vector<api::GenerateRequest> requests(2);
    requests[0].ids = {'a', 'b'};
    requests[1].ids = {'c'};
    requests[1].sampling.seed = 18446744073709551615u;
    for (api::GenerateRequest& request : requests) {
      (*recorder)->Follow(model_.info(), "hash", &request);
    }
    const auto results = model_.GenerateBatch(requests, 2);
    for (size_t i = 0; i < results.size(); ++i) {
      (*recorder)->End(static_cast<int64_t>(i), results[i]->finish_reason, results[i]->output);
    }
    EXPECT_TRUE((*recorder)->Finish().ok());
    return TestFolder::Read(path);
  }

  // The first difference of any run, with the run before it.
  std::string Compare(const std::string& text, double tolerance = 0.01) {
    const auto runs = ParseRecording(text, "f");
    if (!runs.ok()) return "unreadable: " + runs.status().message();
    for (const RecordedRun& run : *runs) {
      const auto again = RunAgain(model_, run);
      EXPECT_TRUE(again.ok());
      const std::string difference = FirstDifference(run, *again, tolerance, model_);
      if (!difference.empty()) return fmt::format("run {}, {}", run.run, difference);
    }
    return "same";
  }

  static std::string Replace(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from << " in\n" << text;
    return at == std::string::npos ? text : text.replace(at, from.size(), to);
  }

  TestFolder folder_;
  FakeModel model_{Twice};
};

TEST_F(Recording, ReplaysAsItWas) {
  const std::string text = Record();
  EXPECT_EQ(Compare(text), "same");
  const auto runs = ParseRecording(text, "f");
  ASSERT_EQ(runs->size(), 2u);
  EXPECT_EQ((*runs)[0].steps.size(), 4u);
  EXPECT_EQ((*runs)[1].request.sampling.seed, 18446744073709551615u);
  EXPECT_EQ((*runs)[1].request.strategy, "one") << "the default is written out";
}

TEST_F(Recording, NamesTheFirstStepAndPositionThatDiffer) {
  const std::string text = Record();
  // Step 2 of run 0 places 'a' (97) at position 4.
  EXPECT_EQ(Compare(Replace(text, "[[4,97,0.75]]", "[[4,98,0.75]]")),
            "run 0, step 2, position 4: recorded 98 \"b\", now 97 \"a\"");
  EXPECT_EQ(Compare(Replace(text, "[[4,97,0.75]]", "[[5,97,0.75]]")),
            "run 0, step 2, position 5: recorded 97 \"a\", now position 4: 97 \"a\"");
  EXPECT_EQ(Compare(Replace(text, "[[4,97,0.75]]", "[[4,97,0.5]]")),
            "run 0, step 2, position 4: recorded confidence 0.500000, now 0.750000");
  EXPECT_EQ(Compare(Replace(text, "[[4,97,0.75]]", "[[4,97,0.755]]")), "same");
  EXPECT_EQ(Compare(Replace(text, "[[4,97,0.75]]", "[]")),
            "run 0, step 2, position 4: newly placed: 97 \"a\"");
  EXPECT_EQ(Compare(Replace(text, "[[4,97,0.75]]", "[[4,97,0.75],[5,97,0.75]]")),
            "run 0, step 2, position 5: no longer placed: 97 \"a\"");
  EXPECT_EQ(Compare(Replace(text, "\"rows\":6", "\"rows\":7")),
            "run 0, step 0: recorded a full forward of 7 rows, now a full forward of 6 rows");
  EXPECT_EQ(Compare(Replace(text, "\"prompt\":[99]", "\"prompt\":[98]")),
            "run 1, step 0, position 1: recorded 99 \"c\", now 98 \"b\"");
  EXPECT_EQ(
      Compare(Replace(text, "\"output\":[99,99]", "\"output\":[99]")).find("run 1, after step 2"),
      0u);
  EXPECT_EQ(Compare(Replace(text, "[[4,97,0.75]]", "[[4,1000000,0.75]]")),
            "run 0, step 2, position 4: recorded 1000000 \"\", now 97 \"a\"");
}

TEST_F(Recording, EditsAndRemasksBelongToAStep) {
  const std::string text = Record();
  const auto with = [&](const std::string& more) {
    return Compare(Replace(text, "[[4,97,0.75]]", "[[4,97,0.75]]," + more));
  };
  EXPECT_EQ(with("\"edited\":[],\"remasked\":[]"), "same");
  EXPECT_EQ(with("\"edited\":[[3,98,0.5]]"),
            "run 0, step 2, position 3: no longer edited: 98 \"b\"");
  EXPECT_EQ(with("\"remasked\":[2,3]"),
            "run 0, step 2: recorded positions [2,3] taken back, now []");
  EXPECT_EQ(with("\"edited\":[[3,98]]").find("unreadable: f:"), 0u);
  EXPECT_EQ(with("\"remasked\":[-1]").find("unreadable: f:"), 0u);
  EXPECT_EQ(with("\"remasked\":3").find("unreadable: f:"), 0u);
}

TEST_F(Recording, FilesThatAreNotWholeAreRefused) {
  const std::string text = Record();
  const auto lines = Split(text, "\n");
  std::string shorter;
  for (size_t i = 0; i + 2 < lines.size(); ++i) shorter += lines[i] + "\n";
  EXPECT_EQ(Compare(shorter), "unreadable: f: run 1 has no end; was it interrupted?");
  EXPECT_EQ(Compare(""), "unreadable: f: no recorded run");
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"{\"run\":0,\"step\":0", "x"},
           {"\"run\":0,\"version\"", "\"run\":1,\"version\""},
           {"\"run\":0,\"step\":0", "\"run\":7,\"step\":0"},
           {"\"step\":1", "\"step\":9"},
           {"\"kind\":\"full\"", "\"kind\":7"},
           {"[[4,97,0.75]]", "[[4,97]]"},
           {"[[4,97,0.75]]", "[[-4,97,0.75]]"},
           {"[[4,97,0.75]]", "[[4,97,1e99]]"},
           {"\"prompt\":[97,98]", "\"prompt\":[97,-1]"},
           {"\"prompt\":[97,98]", "\"prompt\":\"ab\""},
           {"\"seed\":0", "\"seed\":-1"},
           {"\"top_k\":0", "\"top_k\":99999999999"},
           {"\"end\":\"stop\"", "\"end\":3"}}) {
    EXPECT_EQ(Compare(Replace(text, from, to)).find("unreadable: f:"), 0u) << from << " -> " << to;
  }
}

TEST_F(Recording, CannotBeWrittenToAFolderThatIsNotThere) {
  EXPECT_FALSE(Recorder::Open(folder_ / "no/where.jsonl", "0.1").ok());
}

}  // namespace
}  // namespace tessera::eval
