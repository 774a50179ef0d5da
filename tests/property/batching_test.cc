// Sequences with different strategies, lengths and block positions share every forward, and each
// result equals its solo run token for token (oracle 15).
#include "tessera/formats/safetensors.h"
#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using golden::Load;

void ExpectSame(const Outcome& together, const Outcome& alone, const std::string& what) {
  EXPECT_EQ(together.commits, alone.commits) << what;
  EXPECT_EQ(together.completion.canvas, alone.completion.canvas) << what;
  EXPECT_EQ(together.completion.confidence, alone.completion.confidence) << what;
}

std::vector<int32_t> Prompt(int32_t length, int32_t salt) {
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < length; ++i) prompt.push_back((i * 53 + salt * 29 + 7) % 150);
  return prompt;
}

void CheckBatch(const std::string& name, ops::WeightType type, const std::vector<Job>& jobs) {
  for (const std::string& isa : backend::AvailableIsas()) {
    SCOPED_TRACE(name + " at " + isa);
    const golden::Loaded loaded = Load(name, type, isa);
    const std::vector<Outcome> together = RunTogether(*loaded.model, *loaded.device, jobs);
    for (size_t i = 0; i < jobs.size(); ++i) {
      ExpectSame(together[i], RunAlone(loaded, jobs[i]), jobs[i].strategy);
    }
  }
}

const ops::SamplingSpec kWarm = {.temperature = 0.8f, .top_k = 20, .top_p = 0.9f};

TEST(Batching, BidirectionalModels) {
  const std::vector<Job> jobs = {
      {.strategy = "threshold=0.7,block=8,cache=dual", .prompt = Prompt(5, 1)},
      {.strategy = "factor=1.1,block=12,cache=prefix", .prompt = Prompt(40, 2)},
      {.strategy = "quota=9,block=8", .prompt = Prompt(17, 3), .max_new_tokens = 72},
      {.strategy = "entropy_bounded=0.5,guidance=1.5", .prompt = Prompt(9, 4)},
      {.strategy = "threshold=0.9", .prompt = Prompt(3, 5), .sampling = kWarm, .seed = 7},
      {.strategy = "dream=origin,steps=9", .prompt = Prompt(6, 6), .seed = 11},
      {.strategy = "threshold=0.7,cache=dkv,drift=3,drift_refresh=0.2,canvas=multiblock,block=6",
       .prompt = Prompt(11, 7)},
      {.strategy = "threshold=0.7,cache=recap,canvas=slowfast,block=12,guidance=1",
       .prompt = Prompt(30, 8)},
      {.strategy = "factor=1.1,cache=dkv_greedy,dpad=12,block=8",
       .prompt = Prompt(4, 9),
       .sampling = kWarm,
       .seed = 3},
      {.strategy = "threshold=0.6,cache=vicinity,canvas=adablock,block=8,delimiters=1+2+3+4",
       .prompt = Prompt(13, 10)}};
  CheckBatch("llada", ops::WeightType::kF32, jobs);
  CheckBatch("llada_gqa_tied", ops::WeightType::kBF16, jobs);
  CheckBatch("dream", ops::WeightType::kBF16, jobs);
}

TEST(Batching, BlockCausalModels) {
  const std::vector<Job> jobs = {
      {.strategy = "dynamic=0.8", .prompt = Prompt(5, 1)},
      {.strategy = "sequential", .prompt = Prompt(64, 2), .max_new_tokens = 40},
      {.strategy = "threshold=0.6,cache=none", .prompt = Prompt(31, 3)},
      {.strategy = "threshold=0.6,finalise=separate", .prompt = Prompt(8, 4), .sampling = kWarm}};
  CheckBatch("sdar", ops::WeightType::kF32, jobs);
  CheckBatch("fast_dllm_v2", ops::WeightType::kBF16, jobs);
}

TEST(Batching, CausalModels) {
  const std::vector<Job> jobs = {
      {.strategy = "ar", .prompt = Prompt(3, 1)},
      {.strategy = "lookup", .prompt = Prompt(50, 2), .max_new_tokens = 60},
      {.strategy = "ar", .prompt = Prompt(12, 3), .sampling = kWarm, .seed = 5},
      {.strategy = "lookup,draft=3", .prompt = Prompt(9, 4), .sampling = kWarm, .seed = 6}};
  CheckBatch("llama", ops::WeightType::kBF16, jobs);
  CheckBatch("qwen3", ops::WeightType::kF32, jobs);
}

// Forwards and passes of the joint layer are batches of their own, in the same step.
TEST(Batching, JointSampling) {
  const std::vector<Job> jobs = {
      {.strategy = "adjust=4,block=12", .prompt = Prompt(5, 1)},
      {.strategy = "adjust=2,threshold=0.95,guidance=1,block=12", .prompt = Prompt(40, 2)},
      {.strategy = "threshold=0.7,block=8,cache=dual", .prompt = Prompt(17, 3)},
      {.strategy = "adjust=3,canvas=multiblock,block=6,dpad=8",
       .prompt = Prompt(70, 4),
       .sampling = kWarm,
       .seed = 7},
      {.strategy = "adjust=5,canvas=slowfast,block=12,eotp=predicted", .prompt = Prompt(8, 5)}};
  for (const char* name : {"llada", "llada_gqa_tied"}) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    const auto layer =
        golden::Unwrap(SafetensorsFile::Open(golden::Folder(name) + "/joint.safetensors"));
    ASSERT_TRUE(loaded.model->LoadJointLayer(*layer).ok());
    const std::vector<Outcome> together = RunTogether(*loaded.model, *loaded.device, jobs);
    for (size_t i = 0; i < jobs.size(); ++i) {
      const Outcome alone = RunAlone(loaded, jobs[i]);
      ExpectSame(together[i], alone, jobs[i].strategy);
      EXPECT_EQ(alone.completion.metrics.joint_passes() > 0, jobs[i].strategy.starts_with("adjust"))
          << jobs[i].strategy << ", " << alone.commits.size() << " steps";
    }
    // A group of one is one token per step.
    EXPECT_EQ(RunAlone(loaded, {.strategy = "adjust=1"}).commits,
              RunAlone(loaded, {.strategy = "threshold=2"}).commits);
  }
}

// Rows that edits and shadows add change no mate, and no mate changes what is edited or taken back.
TEST(Batching, RulesThatRevise) {
  const std::vector<Job> jobs = {
      {.strategy = "edit=0.2,replace=0.02,block=8,cache=dual", .prompt = Prompt(5, 1)},
      {.strategy = "wino=0.05,verify=0.2,block=12", .prompt = Prompt(40, 2)},
      {.strategy = "threshold=0.7,block=8,cache=dual", .prompt = Prompt(7, 3)},
      {.strategy = "wino=0.05,verify=0.2,guidance=1,canvas=multiblock,block=6,cache=dkv,drift=2",
       .prompt = Prompt(9, 4)},
      {.strategy = "hierarchical=0.1,low=0.02,revoke=0.1,block=12,cache=prefix",
       .prompt = Prompt(20, 8)},
      {.strategy = "rcr,block_steps=4,block=6,cache=vicinity,scope=canvas",
       .prompt = Prompt(13, 6)},
      {.strategy = "remdm,extra=3,number=3,block=12,cache=recap", .prompt = Prompt(8, 7)},
      {.strategy = "edit=0.2,replace=0.02,scope=canvas",
       .prompt = Prompt(6, 5),
       .sampling = kWarm,
       .seed = 5}};
  CheckBatch("llada", ops::WeightType::kF32, jobs);
  CheckBatch("llada_gqa_tied", ops::WeightType::kBF16, jobs);
  CheckBatch("sdar", ops::WeightType::kF32,
             {{.strategy = "edit=0.1,replace=0.02", .prompt = Prompt(5, 1)},
              {.strategy = "wino=0.05,verify=0.2,canvas=multiblock", .prompt = Prompt(31, 2)},
              {.strategy = "edit=0.1,replace=0.02,scope=canvas,finalise=separate",
               .prompt = Prompt(8, 4)}});
}

// Rows of all sequences meet in an expert: how they group must not show.
TEST(Batching, MixturesOfExperts) {
  const std::vector<Job> bidirectional = {
      {.strategy = "threshold=0.7,block=8,cache=dual", .prompt = Prompt(5, 1)},
      {.strategy = "quota=9,block=8", .prompt = Prompt(17, 3), .max_new_tokens = 72},
      {.strategy = "entropy_bounded=0.5,guidance=1.5", .prompt = Prompt(9, 4)},
      {.strategy = "threshold=0.9", .prompt = Prompt(3, 5), .sampling = kWarm, .seed = 7}};
  CheckBatch("llada_moe", ops::WeightType::kF32, bidirectional);
  CheckBatch("llada_moe_shared", ops::WeightType::kBF16, bidirectional);
  const std::vector<Job> block_causal = {
      {.strategy = "dynamic=0.8", .prompt = Prompt(5, 1)},
      {.strategy = "sequential", .prompt = Prompt(64, 2), .max_new_tokens = 40},
      {.strategy = "threshold=0.6,cache=none", .prompt = Prompt(31, 3)},
      {.strategy = "threshold=0.6,finalise=separate", .prompt = Prompt(8, 4), .sampling = kWarm}};
  CheckBatch("llada2_moe", ops::WeightType::kBF16, block_causal);
  CheckBatch("llada2_moe", ops::WeightType::kF32, block_causal);
  CheckBatch("sdar_moe", ops::WeightType::kF32, block_causal);
  const std::vector<Job> causal = {
      {.strategy = "ar", .prompt = Prompt(3, 1)},
      {.strategy = "lookup", .prompt = Prompt(50, 2), .max_new_tokens = 60}};
  CheckBatch("qwen3_moe", ops::WeightType::kBF16, causal);
}

// One row reads top_k experts of each mixture; more rows read more, but never more than all.
TEST(Batching, AForwardCountsTheExpertsItReads) {
  const golden::Loaded loaded = Load("llada_moe", ops::WeightType::kF32);
  const models::DecoderConfig& config = loaded.model->config();
  golden::Logits(loaded, {5});
  const int64_t one = loaded.model->weight_bytes_read();
  // Unlike parameters, packed matrices are padded: compare with the experts left out.
  const int64_t idle = config.mixture.experts - config.mixture.router.top_k;
  EXPECT_EQ((loaded.model->weight_bytes() - one) % (config.layers * idle), 0);
  const int64_t expert = (loaded.model->weight_bytes() - one) / (config.layers * idle);
  EXPECT_GE(expert, config.mixture.expert_width * config.width * 3 * 4);
  EXPECT_GT(one, expert * config.mixture.router.top_k * config.layers);
  golden::Logits(loaded, Prompt(60, 1));
  EXPECT_GT(loaded.model->weight_bytes_read(), one);
  EXPECT_LE(loaded.model->weight_bytes_read(), loaded.model->weight_bytes());

  const Outcome run = RunAlone(loaded, {.strategy = "threshold=0.7"});
  const engine::Metrics& metrics = run.completion.metrics;
  EXPECT_GT(metrics.weight_bytes, metrics.total_forwards() * one);
  EXPECT_LE(metrics.weight_bytes, metrics.total_forwards() * loaded.model->weight_bytes());

  const golden::Loaded dense = Load("llada", ops::WeightType::kF32);
  const engine::Metrics all = RunAlone(dense, {.strategy = "threshold=0.7"}).completion.metrics;
  EXPECT_EQ(all.weight_bytes, all.total_forwards() * dense.model->weight_bytes());
}

// Experts go through the same packing as every other matrix; the router stays f32.
TEST(Batching, QuantisedExperts) {
  const std::vector<Job> jobs = {{.strategy = "dynamic=0.8", .prompt = Prompt(5, 1)},
                                 {.strategy = "sequential", .prompt = Prompt(40, 2)}};
  const int64_t bf16 = Load("llada2_moe", ops::WeightType::kBF16).model->weight_bytes();
  for (const auto type : {ops::WeightType::kInt8, ops::WeightType::kInt4}) {
    CheckBatch("llada2_moe", type, jobs);
    EXPECT_LT(Load("llada2_moe", type).model->weight_bytes(), 0.9 * static_cast<double>(bf16));
  }
}

TEST(Batching, MoreRequestsThanPlacesAllFinish) {
  const golden::Loaded loaded = Load("sdar", ops::WeightType::kF32);
  std::vector<Job> jobs;
  for (int32_t i = 0; i < 9; ++i)
    jobs.push_back({.strategy = "dynamic", .prompt = Prompt(i + 1, i)});
  const std::vector<Outcome> together =
      RunTogether(*loaded.model, *loaded.device, jobs, {.max_sequences = 2});
  for (size_t i = 0; i < jobs.size(); ++i) {
    ExpectSame(together[i], RunAlone(loaded, jobs[i]), std::to_string(i));
  }
}

TEST(Batching, ThreadCountNeverChangesAResult) {
  const golden::Files files = golden::OpenFiles("llada");
  std::optional<Outcome> first;
  for (const int threads : {1, 2, 3}) {
    const auto device = golden::MakeDevice("auto", threads);
    const auto model =
        golden::Unwrap(models::Decoder::Load(files.config, *files.files.tensors, *device, {}));
    Outcome run =
        RunAlone(*model, *device, {.strategy = "threshold=0.7,cache=dual", .sampling = kWarm});
    if (first) ExpectSame(run, *first, std::to_string(threads));
    if (!first) first = std::move(run);
  }
}

}  // namespace
}  // namespace tessera::property
