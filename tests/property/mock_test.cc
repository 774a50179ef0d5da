// Closed-form laws on models whose distributions are known.
#include <cmath>
#include <set>

#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using decode::ForwardKind;

constexpr int32_t kMask = 9;

ops::ModelTraits MockTraits() {
  return {.attention = ops::AttentionKind::kBidirectional,
          .block = 0,
          .shifted_logits = false,
          .mask_id = kMask,
          .stop_ids = {8},
          .vocab_size = 10,
          .max_positions = 256};
}

// Each of the n items equally likely at every position: what "shuffle this list" looks like.
models::MockModel ShuffleModel(int32_t n) {
  return {MockTraits(), [n](const models::ForwardInput&, int32_t, std::span<float> logits) {
            for (size_t v = 0; v < logits.size(); ++v) {
              logits[v] = static_cast<int32_t>(v) < n ? 0.0f : -50.0f;
            }
          }};
}

TEST(Independence, ParallelSamplingOfAShuffleFollowsTheClosedForm) {  // oracle 12
  constexpr int32_t kItems = 4, kTrials = 4000;
  models::MockModel model = ShuffleModel(kItems);
  int32_t distinct = 0;
  for (int32_t trial = 0; trial < kTrials; ++trial) {
    const Outcome run = RunAlone(model, {.strategy = "threshold=0",
                                         .prompt = {0},
                                         .max_new_tokens = kItems,
                                         .sampling = {.temperature = 1},
                                         .seed = static_cast<uint64_t>(trial)});
    const auto& output = run.completion.canvas;
    distinct += std::set<int32_t>(output.begin() + 1, output.end()).size() == kItems;
  }
  const double expected = 24.0 / 256;  // n! / n^n
  const double error = std::sqrt(expected * (1 - expected) / kTrials);
  EXPECT_NEAR(static_cast<double>(distinct) / kTrials, expected, 4 * error);
}

TEST(Independence, GreedyCommitsTheSameItemEverywhere) {  // oracle 12
  models::MockModel model = ShuffleModel(4);
  const Outcome run =
      RunAlone(model, {.strategy = "threshold=0", .prompt = {0}, .max_new_tokens = 4});
  EXPECT_EQ(run.canvas(), (std::vector<int32_t>{0, 0, 0, 0, 0}));
}

TEST(MaskToken, IsNeverCommittedEvenWhenItWins) {
  models::MockModel model(MockTraits(), [](const auto&, int32_t, std::span<float> logits) {
    logits[kMask] = 10;
    logits[2] = 1;
  });
  const Outcome run =
      RunAlone(model, {.strategy = "threshold=0.9", .prompt = {0}, .max_new_tokens = 3});
  EXPECT_EQ(run.canvas(), (std::vector<int32_t>{0, 2, 2, 2}));
}

TEST(NotFinite, LogitsEndTheRequestWithAnErrorAndLeaveItsMatesAlone) {
  // Row content decides: a canvas that begins with 7 gets NaN.
  models::MockModel model(
      MockTraits(), [](const models::ForwardInput& input, int32_t row, std::span<float> logits) {
        int32_t first = row;
        while (input.positions[static_cast<size_t>(first)] != 0) --first;
        logits[1] = input.tokens[static_cast<size_t>(first)] == 7
                        ? std::numeric_limits<float>::quiet_NaN()
                        : 5.0f;
      });
  engine::Engine engine(model, model.device(), {});
  const auto submit = [&](int32_t token) {
    return *engine.Submit(
        {.prompt = {token},
         .max_new_tokens = 4,
         .strategy = golden::Unwrap(decode::MakeStrategy("threshold=0.9", model.traits(), {}))});
  };
  const int64_t bad = submit(7), good = submit(3);
  while (!engine.idle()) engine.Step();
  EXPECT_EQ(engine.Take(bad)->status.code(), StatusCode::kInternal);
  EXPECT_TRUE(engine.Take(good)->status.ok());
}

TEST(Stall, AStrategyThatNeverCommitsIsAnErrorNotAHang) {
  class Idle : public decode::Strategy {
   public:
    Result<int32_t> BeginCanvas(int32_t prompt, int32_t more) override { return prompt + more; }
    Result<decode::StepPlan> Plan(const decode::SequenceView& view,
                                  const decode::StepBudget&) override {
      decode::StepPlan plan;
      plan.sampling = &sampling_;
      plan.tokens = {view.tokens[0]};
      plan.positions = plan.slots = {0};
      plan.groups = {{.row_begin = 0, .row_end = 1, .keys = {{0, 1}}}};
      return plan;
    }
    Result<decode::StepOutcome> Commit(const decode::SequenceView&, const decode::StepPlan&,
                                       std::span<const ops::RowStats>) override {
      return decode::StepOutcome();
    }

   private:
    ops::SamplingSpec sampling_;
  };
  models::MockModel model = ShuffleModel(4);
  engine::Engine engine(model, model.device(), {});
  const engine::Completion completion =
      engine.Run({.prompt = {1}, .max_new_tokens = 4, .strategy = std::make_unique<Idle>()});
  EXPECT_EQ(completion.status.code(), StatusCode::kInternal);
  EXPECT_LE(model.forwards(), 8);
}

TEST(Cancel, TakesEffectWithinAStep) {
  models::MockModel model = ShuffleModel(4);
  engine::Engine engine(model, model.device(), {});
  int steps = 0;
  const engine::Completion completion =
      engine.Run({.prompt = {1},
                  .max_new_tokens = 64,
                  .strategy = golden::Unwrap(decode::MakeStrategy("quota", model.traits(), {})),
                  .on_step = [&](const engine::StepEvent&) { return ++steps < 3; }});
  EXPECT_EQ(completion.reason, engine::FinishReason::kCancelled);
  EXPECT_EQ(model.forwards(), 3);
}

TEST(Limits, RequestsThatDoNotFitAreRefusedByName) {
  models::MockModel model = ShuffleModel(4);
  engine::Engine engine(model, model.device(), {});
  const auto run = [&](std::vector<int32_t> prompt, int32_t tokens, const char* strategy) {
    return engine
        .Run({.prompt = std::move(prompt),
              .max_new_tokens = tokens,
              .strategy = golden::Unwrap(decode::MakeStrategy(strategy, model.traits(), {}))})
        .status;
  };
  EXPECT_NE(run({1}, 256, "quota").message().find("at most 255 new tokens"), std::string::npos);
  EXPECT_NE(run({1, 99}, 4, "quota").message().find("vocabulary"), std::string::npos);
  EXPECT_NE(run({1}, 12, "quota,block=8").message().find("block"), std::string::npos);
  EXPECT_NE(run({1}, 16, "quota=3,block=8").message().find("steps"), std::string::npos);
  EXPECT_TRUE(run({1}, 0, "quota").ok()) << "nothing to do is not an error";
}

}  // namespace
}  // namespace tessera::property
