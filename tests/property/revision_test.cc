// Laws of rules that edit or take back tokens: they end whatever the model says, what was final
// stays, and a cache that recomputes everything changes nothing.
#include <fmt/format.h>

#include <set>

#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using golden::Load;
using ops::AttentionKind;

constexpr int32_t kVocab = 10, kMask = 9;

ops::ModelTraits Traits(AttentionKind attention) {
  return {.attention = attention,
          .block = attention == AttentionKind::kBlockCausal ? 4 : 0,
          .shifted_logits = false,
          .mask_id = kMask,
          .stop_ids = {8},
          .delimiter_ids = {1},
          .vocab_size = kVocab,
          .max_positions = 256};
}

// Sure of another token in every forward, more or less so, and never of the one that stands there.
class Fickle : public models::MockModel {
 public:
  explicit Fickle(AttentionKind attention)
      : MockModel(Traits(attention), [this](const models::ForwardInput& input, int32_t row,
                                            std::span<float> logits) {
          const auto index = static_cast<size_t>(row);
          int32_t favourite = (input.positions[index] * 3 + static_cast<int32_t>(forwards())) % 8;
          if (favourite == input.tokens[index]) favourite = (favourite + 1) % 8;
          const int64_t mood = (input.positions[index] * 7 + forwards() * 5) % 11;
          logits[static_cast<size_t>(favourite)] = 6 + 0.5f * static_cast<float>(mood);
        }) {}
};

// Rules that revise, at settings that revise all they can.
const std::vector<std::string>& RevisingRules() {
  static const std::vector<std::string> rules = {"edit=0.5,replace=0.1,post_steps=1000",
                                                 "edit=0.5,replace=0,scope=canvas,post_steps=1000",
                                                 "wino=0.1,verify=1",
                                                 "rcr,scope=canvas",
                                                 "rcr,block_steps=3",
                                                 "remdm,extra=100000,number=4,from=0.5",
                                                 "hierarchical=1.5,low=0.1,revoke=1"};
  return rules;
}

TEST(Adversary, EveryRuleEnds) {
  const std::vector<std::string> caches = {"none",       "prefix", "dual",    "dkv",
                                           "dkv_greedy", "recap",  "vicinity"};
  const std::vector<std::string> canvases = {"whole", "blocks,block=8", "multiblock,block=4",
                                             "slowfast,block=8", "adablock,block=8"};
  for (const std::string& rule : RevisingRules()) {
    int64_t most = 0;
    for (const AttentionKind kind : {AttentionKind::kBidirectional, AttentionKind::kBlockCausal}) {
      for (const std::string& cache : caches) {
        for (const std::string& canvas : canvases) {
          const bool block_causal = kind == AttentionKind::kBlockCausal;
          if (block_causal && cache != "none") continue;
          if (block_causal && canvas != "multiblock,block=4") continue;
          for (const int32_t revisions : {0, 1, 16, decode::kMaxRevisions}) {
            Fickle model(kind);
            const std::string strategy =
                fmt::format("{},cache={},canvas={},revisions={}", rule,
                            block_causal ? "exact" : cache, canvas, revisions);
            const Outcome run = RunAlone(model, {.strategy = strategy, .prompt = {1, 2, 3, 4}});
            const engine::Metrics& metrics = run.completion.metrics;
            const int64_t changes = metrics.edited + metrics.remasked;
            EXPECT_LE(changes, 24 * revisions) << strategy;
            // Every forward commits, revises, stores a block, or is a last look at a window.
            EXPECT_LE(metrics.total_forwards(), 24 + 4 * changes + 16) << strategy;
            EXPECT_EQ(std::count(run.canvas().begin(), run.canvas().end(), kMask), 0) << strategy;
            if (revisions == 16) most = std::max(most, changes);
          }
        }
      }
    }
    // Remasks of these two are fewer than their commits in every step.
    const bool frugal = rule.starts_with("rcr") || rule.starts_with("hierarchical");
    EXPECT_GT(most, frugal ? 0 : 24) << rule;
  }
}

// What a request is told to be final is what it ends with, and some of it is told early.
TEST(Streaming, OnlyFinalTextIsReported) {
  int64_t early = 0;
  for (const std::string& rule : RevisingRules()) {
    for (const char* canvas : {"blocks,block=8", "multiblock,block=4", "whole"}) {
      Fickle model(AttentionKind::kBidirectional);
      std::vector<int32_t> told;
      engine::Engine engine(model, model.device(), {});
      const std::string strategy = fmt::format("{},canvas={}", rule, canvas);
      const engine::Completion completion = engine.Run(
          {.prompt = {1, 2, 3},
           .max_new_tokens = 24,
           .strategy = golden::Unwrap(decode::MakeStrategy(strategy, model.traits(), {})),
           .on_step = [&](const engine::StepEvent& event) {
             EXPECT_GE(event.final_end, static_cast<int32_t>(told.size()));
             for (size_t i = 0; i < told.size(); ++i) EXPECT_EQ(event.canvas[i], told[i]);
             told.assign(event.canvas.begin(), event.canvas.begin() + event.final_end);
             early += event.final_end > 3 && event.final_end < 27;
             return true;
           }});
      ASSERT_TRUE(completion.status.ok()) << completion.status.message();
      EXPECT_EQ(told, completion.canvas) << strategy;
    }
  }
  EXPECT_GT(early, 0) << "finished blocks are final while others are not";
}

// A strategy that goes beyond its rights is an error of its request, not of the engine.
class Unlawful : public decode::Strategy {
 public:
  explicit Unlawful(decode::StepOutcome wanted) : wanted_(std::move(wanted)) {}
  Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) override {
    return prompt_length + max_new_tokens;
  }
  Result<decode::StepPlan> Plan(const decode::SequenceView& view,
                                const decode::StepBudget&) override {
    decode::StepPlan plan;
    for (int32_t i = 0; i < view.canvas(); ++i) {
      plan.tokens.push_back(view.tokens[static_cast<size_t>(i)]);
      plan.positions.push_back(i);
      plan.slots.push_back(i);
    }
    plan.groups.push_back(
        {.row_begin = 0, .row_end = view.canvas(), .keys = {{0, view.canvas()}}, .bits = {}});
    plan.sampling = &sampling_;
    return plan;
  }
  Result<decode::StepOutcome> Commit(const decode::SequenceView& view, const decode::StepPlan&,
                                     std::span<const ops::RowStats>) override {
    if (view.step > 0) return wanted_;
    decode::StepOutcome first;  // position 2 is decided and final, 3 is decided, 4 is not
    first.commits = {{.position = 2, .token = 5}, {.position = 3, .token = 5}};
    first.open_from = 3;
    return first;
  }

 private:
  decode::StepOutcome wanted_;
  ops::SamplingSpec sampling_;
};

std::string ErrorOf(decode::StepOutcome outcome) {
  Fickle model(AttentionKind::kBidirectional);
  outcome.open_from = 3;
  engine::Engine engine(model, model.device(), {});
  return engine
      .Run({.prompt = {1, 2},
            .max_new_tokens = 3,
            .strategy = std::make_unique<Unlawful>(std::move(outcome))})
      .status.message();
}

TEST(Contract, OnlyOpenTokensAreRevised) {
  const auto edit = [](int32_t position, int32_t token = 6) {
    decode::StepOutcome outcome;
    outcome.edits = {{.position = position, .token = token}};
    return ErrorOf(std::move(outcome));
  };
  const auto remask = [](int32_t position) {
    decode::StepOutcome outcome;
    outcome.remasks = {position};
    return ErrorOf(std::move(outcome));
  };
  for (const int32_t position : {-1, 0, 2, 4, 5}) {
    EXPECT_NE(edit(position).find("undecided, given or final"), std::string::npos) << position;
    EXPECT_NE(remask(position).find("undecided, given or final"), std::string::npos) << position;
  }
  EXPECT_NE(edit(3, kVocab).find("outside the vocabulary"), std::string::npos);
  // Allowed, but it does so for ever.
  EXPECT_NE(edit(3).find("more than 64 times"), std::string::npos);
}

// Keeps the groups of the last forward.
class Watched : public Fickle {
 public:
  using Fickle::Fickle;
  Status Forward(const models::ForwardInput& input, const kv::KvCache& kv,
                 std::span<const ops::RowRequest> requests,
                 std::span<ops::RowStats> stats) override {
    groups.clear();
    for (const ops::AttentionGroup& group : input.groups) {
      std::set<int32_t> keys;
      for (const ops::SlotRange& range : group.mask.slots) {
        for (int32_t slot = range.begin; slot < range.end; ++slot) keys.insert(slot);
      }
      groups.push_back({group.row_begin, group.row_end, std::move(keys)});
    }
    tokens.assign(input.tokens.begin(), input.tokens.end());
    positions.assign(input.positions.begin(), input.positions.end());
    slots.assign(input.slots.begin(), input.slots.end());
    return Fickle::Forward(input, kv, requests, stats);
  }
  struct Group {
    int32_t row_begin, row_end;
    std::set<int32_t> keys;
  };
  std::vector<Group> groups;
  std::vector<int32_t> tokens, positions, slots;
};

// The rows behind those of the canvas (and of its twin) are masks that see all but what they stand
// for; no row sees them but they themselves.
void CheckShadow(AttentionKind kind, const std::string& canvas, bool guided) {
  SCOPED_TRACE(fmt::format("{} guided {}", canvas, guided));
  constexpr int32_t kLength = 28;
  const bool block_causal = kind == AttentionKind::kBlockCausal;
  Watched model(kind);
  const std::string strategy =
      fmt::format("wino=2,canvas={}{}", canvas, guided ? ",guidance=1" : "");
  int32_t shadows = 0;
  engine::Engine engine(model, model.device(), {});
  (void)engine.Run(
      {.prompt = {1, 2, 3, 4},
       .max_new_tokens = 24,
       .strategy = golden::Unwrap(decode::MakeStrategy(strategy, model.traits(), {})),
       .on_step = [&](const engine::StepEvent&) {
         const size_t halves = guided ? 2 : 1;
         for (size_t i = 0; i < halves; ++i) {
           EXPECT_LE(*model.groups[i].keys.rbegin(), kLength * static_cast<int32_t>(i + 1) - 1);
         }
         std::set<int32_t> own[2];  // slots of the shadow rows of either half
         const size_t count = (model.groups.size() - halves) / halves;
         for (size_t i = 0; i < count * halves; ++i) {
           const auto row = static_cast<size_t>(model.groups[halves + i].row_begin);
           own[i / count].insert(model.slots[row]);
         }
         for (size_t i = 0; i < count * halves; ++i) {
           const size_t half = i / count;
           const Watched::Group& group = model.groups[halves + i];
           EXPECT_EQ(group.row_end, group.row_begin + 1);
           const auto row = static_cast<size_t>(group.row_begin);
           const int32_t position = model.positions[row];
           EXPECT_EQ(model.tokens[row], kMask);
           std::set<int32_t> expected = model.groups[half].keys;
           expected.erase(position + static_cast<int32_t>(half) * kLength);
           const int32_t block_end = (position / 4 + 1) * 4;
           if (block_causal) {
             std::erase_if(expected, [&](int32_t slot) {
               return slot >= block_end + static_cast<int32_t>(half) * kLength;
             });
           }
           const int32_t first =
               model.positions[static_cast<size_t>(model.groups[halves + half * count].row_begin)];
           for (const int32_t slot : own[half]) {
             const int32_t at = first + slot - *own[half].begin();
             if (!block_causal || at < block_end) expected.insert(slot);
           }
           EXPECT_EQ(group.keys, expected) << "position " << position << " half " << half;
           ++shadows;
         }
         return true;
       }});
  EXPECT_GT(shadows, 24);
}

TEST(Wino, ShadowsSeeAllButWhatTheyStandFor) {
  for (const bool guided : {false, true}) {
    for (const char* canvas : {"whole", "blocks,block=8", "multiblock,block=4"}) {
      CheckShadow(AttentionKind::kBidirectional, canvas, guided);
    }
    CheckShadow(AttentionKind::kBlockCausal, "multiblock", guided);
  }
}

// Oracle 2 for rules that revise: caches that recompute everything equal no cache, commit by
// commit.
TEST(Revising, FullRefreshEqualsNoCache) {
  const std::vector<std::string> rules = {"edit=0.3,replace=0.05,block=8",
                                          "edit=0.2,replace=0.02,scope=canvas,block=8",
                                          "wino=0.05,verify=0.2,block=12",
                                          "rcr,block_steps=5,block=8",
                                          "rcr,block_steps=5,block=8,scope=canvas",
                                          "remdm,extra=3,number=3,block=12",
                                          "hierarchical=0.1,low=0.02,revoke=0.1,block=12"};
  for (const std::string& rule : rules) {
    for (const char* name : {"llada", "dream"}) {
      const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
      if (rule.starts_with("wino") && std::string(name) == "dream") continue;
      const Outcome none = RunAlone(loaded, {.strategy = rule});
      for (const char* cache :
           {"dual,refresh=1", "prefix,refresh=1", "dkv,refresh=1", "vicinity,before=99,after=99"}) {
        const Outcome run = RunAlone(loaded, {.strategy = fmt::format("{},cache={}", rule, cache)});
        EXPECT_EQ(run.commits, none.commits) << name << " " << rule << " " << cache;
        EXPECT_EQ(run.canvas(), none.canvas()) << name << " " << rule << " " << cache;
      }
    }
  }
}

// Block-causal rows have seen all before them: when an earlier token changes, the exact cache has
// to go back to its block. Then it equals no cache bit for bit.
TEST(Revising, TheExactCacheGoesBack) {
  for (const char* name : {"sdar", "sdar_moe", "fast_dllm_v2", "llada2_moe"}) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    const int32_t mask = loaded.model->traits().mask_id;
    for (const char* rule :
         {"rcr,block_steps=2,scope=canvas", "rcr,block_steps=3,schedule=cosine,scope=canvas"}) {
      const Job none = {.strategy = fmt::format("{},cache=none", rule), .max_new_tokens = 40};
      const Outcome reference = RunAlone(loaded, none);
      const int32_t block = loaded.model->traits().block;
      int64_t earlier = 0;  // tokens taken back in blocks before the one that was being decoded
      for (size_t i = 1; i < reference.canvases.size(); ++i) {
        const std::vector<int32_t>& before = reference.canvases[i - 1];
        const auto first = std::find(before.begin(), before.end(), mask) - before.begin();
        for (int64_t j = 0; j < first / block * block; ++j) {
          earlier += reference.canvases[i][static_cast<size_t>(j)] == mask;
        }
      }
      if (block < 16) {
        EXPECT_GT(earlier, 0) << name << " " << rule;
      }
      for (const char* finalise : {"fused", "separate"}) {
        Job job = none;
        job.strategy = fmt::format("{},cache=exact,first=rule,finalise={}", rule, finalise);
        const Outcome run = RunAlone(loaded, job);
        std::vector<std::vector<int32_t>> canvases;  // without finalise passes
        for (size_t i = 0; i < run.canvases.size(); ++i) {
          const bool predicts = run.kinds[i] != decode::ForwardKind::kFinalise &&
                                (i == 0 || run.canvases[i] != run.canvases[i - 1]);
          if (predicts) canvases.push_back(run.canvases[i]);
        }
        if (run.kinds.front() == decode::ForwardKind::kFull && !run.commits.front().size()) {
          canvases.erase(canvases.begin());  // the prompt's prefill
        }
        EXPECT_EQ(canvases, reference.canvases) << name << " " << job.strategy;
        EXPECT_EQ(run.completion.confidence, reference.completion.confidence)
            << name << " " << job.strategy;
      }
    }
  }
}

// Oracle 1: strict settings commit one token per step, and what never revises equals its base rule.
TEST(Revising, WithoutRevisionsEqualsTheBaseRule) {
  for (const char* name : {"llada", "dream", "sdar"}) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    EXPECT_EQ(RunAlone(loaded, {.strategy = "edit=2,replace=1"}).commits,
              RunAlone(loaded, {.strategy = "quota"}).commits)
        << name;
    EXPECT_EQ(RunAlone(loaded, {.strategy = "edit=0.3,revisions=0,post_steps=0"}).commits,
              RunAlone(loaded, {.strategy = "dynamic=0.3"}).commits)
        << name;
    EXPECT_EQ(RunAlone(loaded, {.strategy = "remdm,extra=0"}).commits,
              RunAlone(loaded, {.strategy = "quota"}).commits)
        << name;
    if (std::string(name) == "dream") continue;
    EXPECT_EQ(RunAlone(loaded, {.strategy = "wino=2,verify=1"}).commits,
              RunAlone(loaded, {.strategy = "quota"}).commits)
        << name << ": one commit takes nothing back";
  }
}

TEST(Revising, EditsHappenAndAreCounted) {
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  const Outcome run = RunAlone(loaded, {.strategy = "edit=0.2,replace=0.02,block=8"});
  EXPECT_GT(run.completion.metrics.edited, 0);
  EXPECT_EQ(run.completion.metrics.remasked, 0);
}

}  // namespace
}  // namespace tessera::property
