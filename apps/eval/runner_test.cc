#include "apps/eval/runner.h"

#include <gtest/gtest.h>

#include <cmath>

#include "apps/eval/encode.h"
#include "apps/eval/fake_model.h"
#include "apps/eval/likelihood.h"
#include "apps/eval/own_text.h"

namespace tessera::eval {
namespace {

Case Ask(const std::string& request, const std::string& answer) {
  Case c;
  c.task = "t";
  c.messages = {{.role = "user", .content = request}};
  c.answer = answer;
  c.grader = "exact";
  return c;
}

TEST(RunCases, CountsWhatComesOut) {
  FakeModel model([](const std::string& prompt, const std::string&) {
    return prompt.starts_with("a") ? "yes" : "no";
  });
  const std::vector<Case> cases = {Ask("a", "yes"), Ask("b", "yes"), Ask("c", "no")};
  Strings outputs;
  RunOptions options{.strategy = "s"};
  options.on_outcome = [&](const Outcome& o) {
    outputs.push_back(o.output + (o.verdict.right() ? " right" : " wrong"));
  };
  const auto result = RunCases(model, cases, options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(outputs, (Strings{"yes right", "no wrong", "no right"}));
  EXPECT_EQ(result->cases, 3);
  EXPECT_EQ(result->score, 2);
  EXPECT_EQ(result->tokens, 7);
  EXPECT_EQ(result->full, 7);
  EXPECT_EQ(result->tokens_per_forward(), 1);
  EXPECT_NEAR(result->forwards_per_case(), 7.0 / 3, 1e-12);
  EXPECT_GT(result->seconds, 0);
}

TEST(RunCases, FailsWithTheFirstCaseThatCannotRun) {
  FakeModel model([](const std::string&, const std::string&) { return "x"; });
  const std::vector<Case> cases = {Ask("a", "x")};
  const auto result = RunCases(model, cases, {.strategy = "broken"});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().message(), "t, case 0: cannot do that");
}

TEST(RunCases, StopsWhenAsked) {
  FakeModel model([](const std::string&, const std::string&) { return "xyz"; });
  const std::vector<Case> cases = {Ask("a", "x")};
  RunOptions options;
  options.keep_going = [] { return false; };
  EXPECT_EQ(RunCases(model, cases, options).status().code(), StatusCode::kCancelled);
}

Case Infill() {
  Case c = Ask("Copy: ab, cd, ef", "cd\nef");
  c.parts = {"ab,", " cd", ",", " ef", ""};
  return c;
}

TEST(Infilling, MasksTheMissingPartsOnly) {
  FakeModel model(nullptr);
  const auto ids = EncodeCase(model, Infill());
  ASSERT_TRUE(ids.ok());
  constexpr api::TokenId kHole = FakeModel::kMask;
  std::vector<api::TokenId> wanted = *model.Encode("Copy: ab, cd, ef\nab,", false);
  wanted.insert(wanted.end(), {kHole, kHole, kHole, ',', kHole, kHole, kHole, FakeModel::kEnd});
  EXPECT_EQ(*ids, wanted);
}

TEST(Infilling, GradesTheHoles) {
  for (const auto& [reply, right] : {std::pair(" cd ef", true), std::pair(" cd xx", false)}) {
    FakeModel model([text = reply](const std::string&, const std::string&) { return text; });
    const std::vector<Case> cases = {Infill()};
    const auto result = RunCases(model, cases, {});
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->score, right ? 1 : 0) << reply;
    EXPECT_EQ(result->tokens, 6) << "holes count as tokens";
  }
}

// The first run's text is the second one's reference; only the second is counted.
TEST(OwnText, IsWhatTheOracleAimsAt) {
  Strings strategies;
  FakeModel model([&](const std::string&, const std::string& strategy) {
    strategies.push_back(strategy);
    return std::string("ab");
  });
  const std::vector<Case> cases = {Ask("x", "ab"), Infill()};
  const auto result = RunCases(model, cases, {.strategy = "oracle=own,cache=dual"});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(strategies,
            (Strings{"threshold=2,cache=dual", "threshold=2,cache=dual", "oracle=97+98,cache=dual",
                     // From the first hole: two written, one still masked.
                     "oracle=97+98,cache=dual"}));
  EXPECT_EQ(result->cases, 2);
  EXPECT_EQ(result->forwards(), 4);
  EXPECT_FALSE(AimsAtOwnText("oracle=ownership"));
  EXPECT_EQ(Checkable("oracle=own,cache=dual"), "oracle=0,cache=dual");
  EXPECT_EQ(Checkable("threshold=2"), "threshold=2");
}

TEST(Infilling, NeedsAMaskToken) {
  FakeModel model(nullptr);
  model.mutable_info().mask_id = -1;
  const auto ids = EncodeCase(model, Infill());
  ASSERT_FALSE(ids.ok());
  EXPECT_NE(ids.status().message().find("mask token"), std::string::npos);
}

TEST(RoomFor, GrowsByBlocksAndKeepsToTheContext) {
  FakeModel model(nullptr);
  EXPECT_EQ(RoomFor(model, "", 10, 64), 64);
  EXPECT_EQ(RoomFor(model, std::string(62, 'x'), 10, 64), 64);
  EXPECT_EQ(RoomFor(model, std::string(63, 'x'), 10, 64), 96);
  EXPECT_EQ(RoomFor(model, "", 4090, 64), 6);
  EXPECT_EQ(RoomFor(model, "", 5000, 64), 1);
}

// With equal logits every token costs log V, masked or not, whatever is drawn.
TEST(Likelihood, IsLogVocabularyForEqualLogits) {
  for (const char* attention : {"causal", "bidirectional"}) {
    FakeModel model(nullptr);
    model.mutable_info().attention = attention;
    const std::vector<Case> cases = {Ask("ab", "xyz"), Ask("c", "x")};
    const auto result = MeasureLikelihood(model, cases, {.seed = 1, .draws = 4});
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result->nll_tokens, 4 + 2) << "with the token that ends the turn";
    EXPECT_NEAR(result->nats_per_token(), std::log(258.0), 1e-5) << attention;
    EXPECT_NEAR(result->nats_interval().low, result->nats_per_token(), 1e-5);
  }
}

TEST(Likelihood, RefusesBlockCausalModels) {
  FakeModel model(nullptr);
  model.mutable_info().attention = "block-causal";
  const std::vector<Case> cases = {Ask("ab", "xyz")};
  EXPECT_FALSE(MeasureLikelihood(model, cases, {}).ok());
}

}  // namespace
}  // namespace tessera::eval
