// Oracles of the canvas policies: each equals a simpler one at the end of its range, and an end of
// text is never paid for twice.
#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using golden::Load;

void ExpectEqual(const Outcome& run, const Outcome& reference, const std::string& what) {
  EXPECT_EQ(run.commits, reference.commits) << what;
  EXPECT_EQ(run.completion.confidence, reference.completion.confidence) << what;
}

TEST(Canvas, PoliciesMeetAtTheEndsOfTheirRanges) {
  struct Pair {
    const char* policy;
    const char* equals;
  };
  const Pair pairs[] = {
      {"canvas=blocks,block=24", "canvas=whole"},
      {"canvas=multiblock,block=24", "canvas=whole"},
      {"canvas=multiblock,block=8,add=1", "canvas=blocks,block=8"},
      {"canvas=multiblock,block=8,max_blocks=1", "canvas=blocks,block=8"},
      {"canvas=adablock,block=8,delimiters=1,delimiter_threshold=2", "canvas=blocks,block=8"},
      {"canvas=adablock,block=8,delimiters=1,look=0", "canvas=blocks,block=8"},
      {"canvas=slowfast,block=8,slow=9999", "canvas=blocks,block=8"},
      {"canvas=slowfast,block=8,slow=1,sure=0,truncate=off", "canvas=blocks,block=8"},
      {"canvas=blocks,block=8,dpad=999999,dpad_density=1e6,dpad_spread=0.1",
       "canvas=blocks,block=8"},
  };
  for (const char* name : {"llada", "dream"}) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    for (const Pair& pair : pairs) {
      for (const char* rule : {"threshold=0.6", "factor=1.2", "threshold=1.5"}) {
        const std::string base = std::string(rule) + ",";
        ExpectEqual(RunAlone(loaded, {.strategy = base + pair.policy}),
                    RunAlone(loaded, {.strategy = base + pair.equals}),
                    fmt::format("{} {}{}", name, base, pair.policy));
      }
    }
  }
  for (const char* name : {"sdar", "fast_dllm_v2"}) {  // D2F's students are block-causal
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    for (const char* cache : {"none", "exact"}) {
      const Job blocks{.strategy = std::string("threshold=0.6,cache=") + cache,
                       .max_new_tokens = 72};
      Job multi = blocks;
      multi.strategy += ",canvas=multiblock,add=1";
      ExpectEqual(RunAlone(loaded, multi), RunAlone(loaded, blocks), name);
    }
  }
}

TEST(MultiBlock, ExactCacheEqualsRecomputingEverything) {
  for (const char* name : {"sdar", "fast_dllm_v2"}) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    for (const char* add : {"0.1", "0.5"}) {
      const Job none{
          .strategy = std::string("threshold=0.6,canvas=multiblock,cache=none,add=") + add,
          .max_new_tokens = 72};
      Job exact = none;
      exact.strategy = std::string(
                           "threshold=0.6,canvas=multiblock,cache=exact,first=rule,"
                           "finalise=fused,add=") +
                       add;
      ExpectEqual(RunAlone(loaded, exact), RunAlone(loaded, none), name);
    }
  }
}

// A model whose prediction at a position does not depend on the rest of the canvas, with the first
// end-of-text at position `end`, certain to the degree `confidence`.
constexpr int32_t kMask = 9, kStop = 8;
models::MockModel TextModel(int32_t end, float confidence) {
  return {{.attention = ops::AttentionKind::kBidirectional,
           .block = 0,
           .shifted_logits = false,
           .mask_id = kMask,
           .stop_ids = {kStop},
           .delimiter_ids = {7},
           .vocab_size = 10,
           .max_positions = 256},
          [=](const models::ForwardInput& input, int32_t row, std::span<float> logits) {
            const int32_t position = input.positions[static_cast<size_t>(row)];
            const int32_t token = position >= end ? kStop : position % 5 == 4 ? 7 : position % 7;
            logits[static_cast<size_t>(token)] =
                position >= end ? confidence : 2 + static_cast<float>(position % 3);
          }};
}

TEST(EndOfText, TruncationKeepsTheTextAndDropsTheRest) {  // oracle 14
  for (const char* canvas :
       {"blocks,block=8", "whole", "multiblock,block=8", "slowfast,block=8", "adablock,block=8"}) {
    for (const char* cache : {"none", "dual", "prefix", "dkv", "recap"}) {
      const Job job{.strategy = fmt::format("threshold=0.7,canvas={},cache={}", canvas, cache),
                    .prompt = {0, 1, 2, 3},
                    .max_new_tokens = 64,
                    .stop_early = true,
                    .stop_ids = {kStop}};
      SCOPED_TRACE(job.strategy);
      models::MockModel model = TextModel(23, 6);
      const Outcome plain = RunAlone(model, job);
      EXPECT_EQ(plain.completion.output.size(), 19u);
      for (const char* rule : {"decided", "predicted"}) {
        Job truncated = job;
        truncated.strategy += std::string(",eotp=") + rule;
        const Outcome run = RunAlone(model, truncated);
        EXPECT_EQ(run.completion.output, plain.completion.output) << rule;
        EXPECT_LE(run.completion.metrics.rows, plain.completion.metrics.rows) << rule;
        EXPECT_EQ(run.completion.canvas.size() + run.completion.metrics.dropped, 68u) << rule;
      }
    }
  }
}

TEST(EndOfText, PredictionEndsTheCanvasBeforeTheTokenIsDecided) {
  models::MockModel model = TextModel(40, 6);
  const auto rows = [&](const char* eotp) {
    return RunAlone(model, {.strategy = std::string("quota,canvas=whole,eotp=") + eotp,
                            .prompt = {0, 1, 2, 3},
                            .max_new_tokens = 124,
                            .stop_early = true,
                            .stop_ids = {kStop}})
        .completion.metrics.rows;
  };
  // Whole canvas, so the first forward sees every end-of-text: from then on 41 positions are left.
  EXPECT_EQ(rows("predicted"), 128 + 36 * 41);
  EXPECT_GT(rows("off"), rows("decided"));
  EXPECT_GE(rows("decided"), rows("predicted"));
}

TEST(EndOfText, APredictionBelowTheThresholdOrBeforeAWordDropsNothing) {
  models::MockModel model = TextModel(40, 1);
  const Job job{.strategy = "quota,canvas=whole,eotp=predicted,eotp_threshold=0.9",
                .prompt = {0, 1, 2, 3},
                .max_new_tokens = 60};
  const Outcome run = RunAlone(model, job);
  EXPECT_EQ(run.commits.front().size(), 1u);
  EXPECT_EQ(run.completion.canvas.size(), 41u) << "dropped when it was decided";
  // In an infill the words behind a hole are given: nothing is dropped before them.
  models::MockModel ends = TextModel(0, 6);
  const Outcome infill = RunAlone(ends, {.strategy = "threshold=0.9,eotp=predicted",
                                         .prompt = {1, kMask, 2, kMask, kMask, 3},
                                         .max_new_tokens = 0});
  EXPECT_EQ(infill.canvas(), (std::vector<int32_t>{1, kStop, 2, kStop, kStop, 3}));
}

TEST(AdaBlock, EndsABlockAtADelimiter) {
  models::MockModel model = TextModel(999, 0);
  // Delimiters at 4, 9, 14, ...; the most probable one in the window ends the block.
  const Outcome run = RunAlone(model, {.strategy = "threshold=0,canvas=adablock,block=16,look=0.2",
                                       .prompt = {0},
                                       .max_new_tokens = 40});
  // look = 8 positions: 1..8 holds one delimiter, 4; then 5..12 holds 9; and so on.
  std::vector<size_t> lengths;
  for (const auto& commits : run.commits) lengths.push_back(commits.size());
  EXPECT_EQ(lengths.front(), 4u);
  for (size_t i = 1; i + 1 < lengths.size(); ++i) EXPECT_EQ(lengths[i], 5u) << i;
}

TEST(SlowFast, ComputesNothingBehindTheFastSpan) {
  models::MockModel model = TextModel(999, 0);
  const Job job{.strategy = "quota,canvas=slowfast,block=32,slow=2,sure=0.6",
                .prompt = {0, 1, 2, 3},
                .max_new_tokens = 64};
  const Outcome truncated = RunAlone(model, job);
  Job wide = job;
  wide.strategy += ",truncate=off";
  const Outcome whole = RunAlone(model, wide);
  EXPECT_EQ(truncated.commits, whole.commits) << "this model does not look around";
  EXPECT_LT(truncated.completion.metrics.rows, whole.completion.metrics.rows);
  EXPECT_EQ(whole.completion.metrics.rows, 64 * 68);
}

TEST(SuffixDropout, SeesAFewOfTheFarMasksAndKeepsGivenSpans) {
  models::MockModel model = TextModel(999, 0);
  const auto rows = [&](const char* dpad, uint64_t seed) {
    return RunAlone(model, {.strategy = std::string("threshold=0,block=8,") + dpad,
                            .prompt = {0, 1, 2, 3},
                            .max_new_tokens = 128,
                            .seed = seed})
        .completion.metrics.rows;
  };
  EXPECT_EQ(rows("dpad=0", 1), 16 * 132);
  // Without survivors a forward sees the decided prefix and its block.
  EXPECT_EQ(rows("dpad=64,dpad_density=0", 1), 4 * 16 + 8 * 16 * 17 / 2);
  const int64_t some = rows("dpad=64", 1);
  EXPECT_GT(some, rows("dpad=64,dpad_density=0", 1));
  EXPECT_LT(some, 16 * 132);
  EXPECT_EQ(some, rows("dpad=64", 1));
  EXPECT_NE(some, rows("dpad=64", 2)) << "the draw depends on the seed";
}

TEST(MultiBlock, DecodesSeveralBlocksAtOnce) {
  models::MockModel model = TextModel(999, 0);
  const auto run = [&](const char* canvas) {
    return RunAlone(
        model,
        {.strategy = std::string("quota,") + canvas, .prompt = {0, 1, 2, 3}, .max_new_tokens = 64});
  };
  const Outcome blocks = run("block=8");
  const Outcome multi = run("canvas=multiblock,block=8,add=0.25,activate=0.5");
  EXPECT_EQ(multi.canvas(), blocks.canvas());
  EXPECT_EQ(blocks.completion.metrics.total_forwards(), 64);
  EXPECT_LT(multi.completion.metrics.total_forwards(), 48)
      << "every fully active block commits in every step";
}

}  // namespace
}  // namespace tessera::property
