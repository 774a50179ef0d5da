// Decode traces of the public samplers, reproduced commit by commit through the engine.
#include "tessera/decode/registry.h"
#include "tessera/engine/engine.h"
#include "tests/golden/golden.h"

namespace tessera::golden {
namespace {

using nlohmann::json;

// Ours for one recorded case, and what of the record it can be held to.
struct Translation {
  std::string strategy;
  int32_t max_new_tokens = 0;
  std::vector<int32_t> stop_ids;     // for the engine's early stop
  std::vector<int32_t> special_ids;  // end-of-text as the strategy sees it
  bool stop_early = false;
  float repetition_penalty = 1;
};

std::string Text(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

Translation TranslateLLaDA(const json& o) {
  Translation t{.max_new_tokens = o["gen_length"]};
  t.strategy = "quota=" + Text(o["steps"]) + ",block=" + Text(o["block_length"]);
  if (o.value("cfg_scale", 0.0) > 0) t.strategy += ",guidance=" + Text(o["cfg_scale"]);
  if (o.value("logits_eos_inf", false)) {
    t.strategy += ",eos=never";
    t.special_ids = {o["eos"]};
  }
  if (o.value("confidence_eos_eot_inf", false)) {
    t.strategy += ",eos=last";
    t.special_ids = {o["eos"], o["eot"]};
  }
  return t;
}

Translation TranslateFastDllmV1(const json& o) {
  Translation t{.max_new_tokens = o["gen_length"]};
  if (o.contains("threshold")) {
    t.strategy = "threshold=" + Text(o["threshold"]);
  } else if (o.contains("factor")) {
    t.strategy = "factor=" + Text(o["factor"]);
    if (o["last_rank_quirk"]) t.strategy += ",quirk=on";
  } else {
    t.strategy = "quota=" + Text(o["steps"]);
  }
  t.strategy += ",block=" + Text(o["block_length"]) + ",cache=" + Text(o["cache"]);
  return t;
}

Translation TranslateSdar(const json& o, int32_t prompt) {
  const int32_t block = o["block_length"];
  const int32_t end = (prompt + o["gen_length"].get<int32_t>() + block - 1) / block * block;
  Translation t{.max_new_tokens = end - prompt};
  const std::string steps = o.contains("denoising_steps") ? Text(o["denoising_steps"]) : "";
  const std::string rule = o["strategy"];
  if (rule == "low_confidence_static") t.strategy = "quota,block_steps=" + steps;
  if (rule == "sequential") t.strategy = "sequential=" + steps;
  if (rule == "low_confidence_dynamic") {
    t.strategy = "dynamic=" + Text(o["threshold"]) + ",block_steps=" + steps;
  }
  if (rule == "entropy_bounded") t.strategy = "entropy_bounded=" + Text(o["gamma"]);
  t.strategy += ",cache=exact,finalise=separate";
  if (o.contains("stop")) {
    t.stop_ids = o["stop"].get<std::vector<int32_t>>();
    t.stop_early = true;
  }
  return t;
}

Translation TranslateLLaDA2(const json& o) {
  Translation t{.max_new_tokens = o["gen_length"]};
  t.strategy = "dynamic=" + Text(o["threshold"]) + ",block_steps=" + Text(o["steps"]) +
               ",cache=exact,finalise=separate";
  if (o.contains("stop")) {
    t.stop_ids = {o["stop"].get<int32_t>()};
    t.stop_early = true;
  }
  return t;
}

Translation TranslateFastDllmV2(const json& o, int32_t prompt) {
  const int32_t blocks = o["max_new_tokens"].get<int32_t>() / 32 + prompt / 32;
  Translation t{.max_new_tokens = blocks * 32 - prompt};
  t.strategy = "threshold=" + Text(o["threshold"]) + ",strict=on,cache=exact,sub_block=8";
  if (o.value("block_cache", false)) t.strategy += ",sub_cache=on";
  if (o.contains("stop")) {
    t.stop_ids = {o["stop"].get<int32_t>()};
    t.stop_early = true;
  }
  return t;
}

Translation Translate(const json& record) {
  const json& o = record["options"];
  const std::string sampler = record["sampler"];
  const int32_t prompt = static_cast<int32_t>(record["prompt"].size());
  if (sampler == "greedy") {
    Translation t{.strategy = "ar", .max_new_tokens = o["max_new_tokens"]};
    t.repetition_penalty = o.value("repetition_penalty", 1.0f);
    t.stop_early = true;
    if (o.contains("eos")) t.stop_ids = {o["eos"].get<int32_t>()};
    return t;
  }
  if (sampler == "llada") return TranslateLLaDA(o);
  if (sampler == "fast_dllm_v1") return TranslateFastDllmV1(o);
  if (sampler == "dream") {
    return {.strategy = "dream=" + Text(o["alg"]) + ",steps=" + Text(o["steps"]) + ",canvas=whole",
            .max_new_tokens = o["gen_length"]};
  }
  if (sampler == "dream_fast_dllm") {
    return {.strategy = "threshold=" + Text(o["threshold"]) + ",block=" + Text(o["block_length"]) +
                        ",cache=" + Text(o["cache"]) + ",first=greedy",
            .max_new_tokens = o["gen_length"]};
  }
  if (sampler == "sdar") return TranslateSdar(o, prompt);
  if (sampler == "llada2") return TranslateLLaDA2(o);
  return TranslateFastDllmV2(o, prompt);
}

struct Trace {
  std::vector<int32_t> canvas;
  std::vector<std::map<int32_t, int32_t>> commits;  // of forwards that commit
  std::map<std::string, int64_t> forwards;
  int64_t total = 0;
};

Trace RunCase(const Loaded& loaded, const json& record, const Translation& t) {
  ops::ModelTraits traits = loaded.model->traits();
  if (!t.special_ids.empty()) traits.stop_ids = t.special_ids;
  ops::SamplingSpec sampling;
  sampling.repetition_penalty = t.repetition_penalty;
  auto strategy = decode::MakeStrategy(t.strategy, traits, sampling);
  EXPECT_TRUE(strategy.ok()) << t.strategy << ": " << strategy.status().message();
  engine::Engine engine(*loaded.model, *loaded.device, {});
  Trace trace;
  engine::Request request{.prompt = record["prompt"].get<std::vector<int32_t>>(),
                          .max_new_tokens = t.max_new_tokens,
                          .seed = 0,
                          .strategy = std::move(*strategy),
                          .stop_ids = t.stop_ids,
                          .stop_early = t.stop_early,
                          .on_step = {}};
  request.on_step = [&](const engine::StepEvent& event) {
    std::map<int32_t, int32_t> commits;
    for (const decode::Placement& commit : event.commits) commits[commit.position] = commit.token;
    if (!commits.empty()) trace.commits.push_back(std::move(commits));
    return true;
  };
  const engine::Completion completion = engine.Run(std::move(request));
  EXPECT_TRUE(completion.status.ok()) << completion.status.message();
  trace.canvas = completion.canvas;
  trace.forwards = {{"full", completion.metrics.forwards[0]},
                    {"window", completion.metrics.forwards[1]},
                    {"finalise", completion.metrics.forwards[2]}};
  trace.total = completion.metrics.total_forwards();
  return trace;
}

std::vector<std::map<int32_t, int32_t>> ExpectedCommits(const json& record, int32_t end) {
  std::vector<std::map<int32_t, int32_t>> commits;
  for (const json& step : record["expected"]["steps"]) {
    std::map<int32_t, int32_t> placed;
    for (const json& commit : step[1]) {
      if (commit[0] < end) placed[commit[0]] = commit[1];
    }
    if (!placed.empty()) commits.push_back(std::move(placed));
  }
  return commits;
}

class Decode : public ::testing::TestWithParam<std::string> {};

TEST_P(Decode, PublicTraces) {
  const Loaded loaded = Load(GetParam(), ops::WeightType::kF32);
  const Result<json> records = ReadJsonFile(Folder(GetParam()) + "/decode.json");
  ASSERT_TRUE(records.ok()) << records.status().message();
  ASSERT_FALSE(records->empty());
  for (const json& record : *records) {
    SCOPED_TRACE(record["name"].get<std::string>());
    const Translation t = Translate(record);
    Trace trace = RunCase(loaded, record, t);
    const std::vector<int32_t> ids = record["expected"]["ids"];
    if (record["sampler"] == "llada2") {
      // Its text ends at the stop: what the last forward placed behind that is not recorded.
      std::erase_if(trace.commits.back(), [&](const auto& commit) {
        return commit.first >= static_cast<int32_t>(ids.size());
      });
    }

    // Published loops decide the rest of a block after a stop; ours ends there.
    size_t end = std::min(ids.size(), trace.canvas.size());
    for (size_t i = record["prompt"].size(); i < end; ++i) {
      if (std::find(t.stop_ids.begin(), t.stop_ids.end(), ids[i]) != t.stop_ids.end()) end = i + 1;
    }
    ASSERT_GT(end, record["prompt"].size());
    EXPECT_EQ(std::vector<int32_t>(trace.canvas.begin(), trace.canvas.begin() + end),
              std::vector<int32_t>(ids.begin(), ids.begin() + end));

    std::vector<std::map<int32_t, int32_t>> expected =
        ExpectedCommits(record, static_cast<int32_t>(trace.canvas.size()));
    if (t.stop_early && !t.stop_ids.empty() && expected.size() > trace.commits.size()) {
      expected.resize(trace.commits.size());
    }
    EXPECT_EQ(trace.commits, expected);

    const json& nfe = record["expected"]["nfe"];
    const std::string sampler = record["sampler"];
    if (sampler == "llada" || sampler == "fast_dllm_v1" || sampler == "dream_fast_dllm") {
      EXPECT_EQ(trace.forwards.at("full"), nfe.value("full", 0));
      EXPECT_EQ(trace.forwards.at("window"), nfe.value("window", 0));
    } else if (sampler == "llada2" && t.stop_ids.empty()) {
      // That loop evaluates the whole text in every forward and stores nothing; ours adds the
      // prefill of the prompt's complete blocks and the finalise pass of every block but the last.
      const int64_t block = record["options"]["block_length"];
      const auto prompt = static_cast<int64_t>(record["prompt"].size());
      const int64_t blocks = static_cast<int64_t>(ids.size()) / block - prompt / block;
      EXPECT_EQ(trace.total, nfe["denoise"].get<int64_t>() + (prompt >= block) + blocks - 1);
    } else if (sampler == "dream") {
      // Steps that commit nothing are not run here.
      EXPECT_EQ(trace.total, static_cast<int64_t>(expected.size()));
    } else if (t.stop_ids.empty() && sampler != "greedy") {
      // The finalise pass after the last block stores K/V that nobody reads; ours leaves it out.
      EXPECT_EQ(trace.total, nfe["total"].get<int64_t>() - 1);
    } else if (t.stop_ids.empty()) {
      EXPECT_EQ(trace.total, nfe["total"].get<int64_t>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, Decode, ::testing::ValuesIn(Names()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace tessera::golden
