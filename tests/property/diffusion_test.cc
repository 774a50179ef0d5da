// Oracles of diffusion decoding (methods, section 15) on the golden models in fp32.
#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using decode::ForwardKind;
using golden::Load;

TEST(Threshold, AboveOneIsOneTokenPerStep) {  // oracle 1
  for (const char* name : {"llada", "dream", "sdar", "fast_dllm_v2"}) {
    SCOPED_TRACE(name);
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    const Outcome by_threshold = RunAlone(loaded, {.strategy = "threshold=1.5"});
    const Outcome by_quota = RunAlone(loaded, {.strategy = "quota"});
    EXPECT_EQ(by_threshold.commits, by_quota.commits);
    for (const auto& commits : by_threshold.commits) EXPECT_LE(commits.size(), 1u);
  }
}

TEST(Threshold, ZeroAndHugeFactorCommitEverything) {  // oracle 1
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  for (const char* strategy : {"threshold=0,block=8", "factor=1e6,block=8"}) {
    const Outcome run = RunAlone(loaded, {.strategy = strategy});
    EXPECT_EQ(run.commits.size(), 3u) << strategy;
    for (const auto& commits : run.commits) EXPECT_EQ(commits.size(), 8u) << strategy;
  }
}

TEST(WindowCache, RefreshEveryStepEqualsNoCache) {  // oracles 2 and 6 (a), exact in fp32
  for (const char* name : {"llada", "llada_gqa_tied", "dream"}) {
    SCOPED_TRACE(name);
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    for (const char* rule : {"threshold=0.6", "factor=1.2", "quota=12", "entropy_bounded=0.8"}) {
      const std::string base = std::string(rule) + ",block=8";
      const Outcome none = RunAlone(loaded, {.strategy = base + ",cache=none"});
      for (const char* cache : {"prefix", "dual"}) {
        const Outcome run = RunAlone(loaded, {.strategy = base + ",cache=" + cache + ",refresh=1"});
        EXPECT_EQ(run.commits, none.commits) << rule << " " << cache;
        EXPECT_EQ(run.completion.confidence, none.completion.confidence) << rule << " " << cache;
      }
    }
  }
}

TEST(WindowCache, FullForwardOncePerBlock) {
  const golden::Loaded loaded = Load("dream", ops::WeightType::kF32);
  for (const char* cache : {"prefix", "dual"}) {
    const Outcome run =
        RunAlone(loaded, {.strategy = std::string("threshold=1.5,block=8,cache=") + cache});
    EXPECT_EQ(run.forwards(ForwardKind::kFull), 3);
    EXPECT_EQ(run.forwards(ForwardKind::kWindow), 21);
  }
}

// Oracle 6 (b): Fast-dLLM's port to Dream commits the first token of a block blindly at the block's
// full forward and nothing else there; window forwards follow the rule.
TEST(WindowCache, GreedyFirstTokensAreTheFullForwardsOnlyCommits) {
  const golden::Loaded loaded = Load("dream", ops::WeightType::kF32);
  for (const char* cache : {"prefix", "dual"}) {
    const std::string base = std::string("threshold=0.6,block=8,cache=") + cache;
    const Outcome run = RunAlone(loaded, {.strategy = base + ",first=greedy"});
    int32_t blocks = 0;
    for (size_t i = 0; i < run.commits.size(); ++i) {
      if (run.kinds[i] != ForwardKind::kFull) continue;
      ASSERT_EQ(run.commits[i].size(), 1u) << cache;
      EXPECT_EQ(run.commits[i].begin()->first % 8, run.commits[0].begin()->first % 8) << cache;
      ++blocks;
    }
    EXPECT_EQ(blocks, 3) << cache;
  }
}

TEST(ExactCache, EqualsRecomputingEverything) {  // oracle 4
  for (const char* name : {"sdar", "fast_dllm_v2"}) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    for (const int32_t prompt_length : {1, 4, 7, 33, 64}) {
      std::vector<int32_t> prompt;
      for (int32_t i = 0; i < prompt_length; ++i) prompt.push_back((i * 37 + 11) % 150);
      const Job job{.strategy = "", .prompt = prompt, .max_new_tokens = 70};
      const auto run = [&](const std::string& strategy) {
        Job with = job;
        with.strategy = strategy;
        return RunAlone(loaded, with);
      };
      const Outcome none = run("threshold=0.7,cache=none");
      const Outcome fused = run("threshold=0.7,cache=exact,first=rule,finalise=fused");
      const Outcome separate = run("threshold=0.7,cache=exact,first=rule,finalise=separate");
      EXPECT_EQ(fused.commits, none.commits) << name << ", prompt " << prompt_length;
      EXPECT_EQ(fused.canvas(), separate.canvas()) << name << ", prompt " << prompt_length;
      EXPECT_LT(fused.completion.metrics.total_forwards(),
                separate.completion.metrics.total_forwards());
      EXPECT_LT(fused.completion.metrics.rows, none.completion.metrics.rows);
    }
  }
}

TEST(ExactCache, BlockOfOneCostsTwoForwardsOrOneFused) {  // oracle 5
  golden::Files files = golden::OpenFiles("sdar");
  files.config.traits.block = 1;
  const auto device = golden::MakeDevice();
  const auto model =
      golden::Unwrap(models::Decoder::Load(files.config, *files.files.tensors, *device, {}));
  const Outcome separate = RunAlone(*model, *device, {.strategy = "quota,finalise=separate"});
  const Outcome fused = RunAlone(*model, *device, {.strategy = "quota,finalise=fused"});
  EXPECT_EQ(separate.canvas(), fused.canvas());
  // The last token needs no finalise pass, the prompt needs one.
  EXPECT_EQ(separate.completion.metrics.total_forwards(), 2 * 24);
  EXPECT_EQ(fused.completion.metrics.total_forwards(), 24);
}

TEST(Guidance, ZeroIsOffAndTwinsDoNotMeet) {
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  const Outcome off = RunAlone(loaded, {.strategy = "quota,block=8"});
  const Outcome zero = RunAlone(loaded, {.strategy = "quota,block=8,guidance=0"});
  const Outcome on = RunAlone(loaded, {.strategy = "quota,block=8,guidance=3"});
  EXPECT_EQ(zero.commits, off.commits);
  EXPECT_NE(on.canvas(), off.canvas());
  EXPECT_EQ(on.completion.metrics.rows, 2 * off.completion.metrics.rows);
  // Windows against cached rows of both twins equal full forwards of both.
  const Outcome none = RunAlone(loaded, {.strategy = "threshold=0.8,block=8,guidance=1"});
  const Outcome dual =
      RunAlone(loaded, {.strategy = "threshold=0.8,block=8,guidance=1,cache=dual,refresh=1"});
  EXPECT_EQ(none.commits, dual.commits);
}

TEST(EndOfText, LastCommitsItOnlyWhenNothingElseIsLeft) {  // oracle 13
  golden::Files files = golden::OpenFiles("llada");
  const Outcome free =
      RunAlone(Load("llada", ops::WeightType::kF32), {.strategy = "quota,block=24"});
  const int32_t eos = free.commits.front().begin()->second;  // the model's favourite
  files.config.traits.stop_ids = {eos};
  const auto device = golden::MakeDevice();
  const auto model =
      golden::Unwrap(models::Decoder::Load(files.config, *files.files.tensors, *device, {}));
  const Outcome last = RunAlone(*model, *device, {.strategy = "quota,block=24,eos=last"});
  EXPECT_NE(last.commits.front().begin()->second, eos);
  const Outcome never = RunAlone(*model, *device, {.strategy = "quota,block=24,eos=never"});
  for (size_t i = 8; i < never.canvas().size(); ++i) EXPECT_NE(never.canvas()[i], eos);
  // Tokens are counted to the first end-of-text and not past it.
  const Outcome stopped = RunAlone(
      *model, *device, {.strategy = "quota,block=24", .stop_early = true, .stop_ids = {eos}});
  EXPECT_EQ(stopped.completion.reason, engine::FinishReason::kStop);
  const auto& output = stopped.completion.output;
  EXPECT_EQ(std::count(output.begin(), output.end(), eos), 0);
  EXPECT_EQ(stopped.completion.metrics.output_tokens, static_cast<int64_t>(output.size()) + 1);
}

TEST(Infilling, FillsHolesAndKeepsWhatIsGiven) {
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  const int32_t mask = loaded.model->traits().mask_id;
  const std::vector<int32_t> prompt = {5, mask, mask, 9, 10, mask, 12, 13};
  const Outcome run =
      RunAlone(loaded, {.strategy = "threshold=0.9", .prompt = prompt, .max_new_tokens = 0});
  ASSERT_EQ(run.canvas().size(), prompt.size());
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (prompt[i] == mask) {
      EXPECT_NE(run.canvas()[i], mask);
    } else {
      EXPECT_EQ(run.canvas()[i], prompt[i]);
    }
  }
}

TEST(Dream, SkipsStepsThatCommitNothing) {
  const golden::Loaded loaded = Load("dream", ops::WeightType::kF32);
  const Outcome run = RunAlone(loaded, {.strategy = "dream=entropy,steps=100"});
  EXPECT_LE(run.commits.size(), 24u);
  for (const auto& commits : run.commits) EXPECT_FALSE(commits.empty());
}

}  // namespace
}  // namespace tessera::property
