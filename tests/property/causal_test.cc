// Drafting never changes the text: any drafter, even an adversarial one, gives plain decoding's
// tokens (methods: autoregressive, section 20.2).
#include "tessera/decode/causal.h"

#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using golden::Load;

// Proposes whatever it is told to, right or wrong.
class TableDrafter : public decode::Drafter {
 public:
  explicit TableDrafter(std::function<int32_t(int32_t position)> token)
      : token_(std::move(token)) {}
  std::vector<int32_t> Propose(std::span<const int32_t> text, int32_t max_tokens) override {
    std::vector<int32_t> drafts;
    for (int32_t i = 0; i < std::min(max_tokens, 5); ++i) {
      drafts.push_back(token_(static_cast<int32_t>(text.size()) + i));
    }
    return drafts;
  }

 private:
  std::function<int32_t(int32_t)> token_;
};

engine::Completion RunDrafter(const golden::Loaded& loaded, const Job& job,
                              std::function<int32_t(int32_t)> token) {
  engine::Engine engine(*loaded.model, *loaded.device, {});
  return engine.Run({.prompt = job.prompt,
                     .max_new_tokens = job.max_new_tokens,
                     .seed = job.seed,
                     .strategy = std::make_unique<decode::CausalStrategy>(
                         loaded.model->traits(), job.sampling,
                         std::make_unique<TableDrafter>(std::move(token)))});
}

TEST(Drafting, LookupGivesPlainText) {
  for (const char* name : {"llama", "qwen2", "qwen3", "llama_rope3"}) {
    for (const ops::WeightType type : {ops::WeightType::kF32, ops::WeightType::kBF16}) {
      const golden::Loaded loaded = Load(name, type);
      for (const float temperature : {0.0f, 0.9f}) {
        Job job{.strategy = "ar", .prompt = {1, 2, 3, 1, 2, 3, 1, 2}, .max_new_tokens = 80};
        job.sampling.temperature = temperature;
        job.seed = 3;
        const Outcome plain = RunAlone(loaded, job);
        job.strategy = "lookup";
        const Outcome lookup = RunAlone(loaded, job);
        EXPECT_EQ(lookup.completion.output, plain.completion.output) << name << " " << temperature;
        EXPECT_GT(lookup.completion.metrics.drafted, 0) << name;
        EXPECT_EQ(lookup.completion.metrics.total_forwards() + lookup.completion.metrics.accepted,
                  plain.completion.metrics.total_forwards());
      }
    }
  }
}

TEST(Drafting, AdversarialAndPerfectDraftersGivePlainText) {
  const golden::Loaded loaded = Load("llama", ops::WeightType::kF32);
  for (const float penalty : {1.0f, 1.3f}) {
    Job job{.strategy = "ar", .max_new_tokens = 40};
    job.sampling.repetition_penalty = penalty;
    const Outcome plain = RunAlone(loaded, job);
    const std::vector<int32_t> text = plain.canvas();
    const auto right = [&](int32_t position) {
      return static_cast<size_t>(position) < text.size() ? text[static_cast<size_t>(position)] : 0;
    };
    const engine::Completion perfect = RunDrafter(loaded, job, right);
    EXPECT_EQ(perfect.output, plain.completion.output);
    EXPECT_EQ(perfect.metrics.total_forwards(), 7) << "40 tokens at 6 per forward";
    const engine::Completion wrong =
        RunDrafter(loaded, job, [&](int32_t position) { return (right(position) + 1) % 150; });
    EXPECT_EQ(wrong.output, plain.completion.output);
    EXPECT_EQ(wrong.metrics.accepted, 0);
    const engine::Completion mixed = RunDrafter(loaded, job, [&](int32_t position) {
      return position % 3 == 0 ? (right(position) + 1) % 150 : right(position);
    });
    EXPECT_EQ(mixed.output, plain.completion.output);
    EXPECT_GT(mixed.metrics.accepted, 0);
  }
}

TEST(Prefill, ChunksGiveTheSameText) {
  const golden::Loaded loaded = Load("qwen3", ops::WeightType::kF32);
  Job job{.strategy = "ar", .prompt = {}, .max_new_tokens = 12};
  for (int32_t i = 0; i < 100; ++i) job.prompt.push_back((i * 31) % 150);
  const Outcome whole = RunAlone(loaded, job);
  for (const int32_t rows : {1, 7, 64, 99}) {
    const std::vector<Outcome> chunked =
        RunTogether(*loaded.model, *loaded.device, {job}, {.prefill_rows = rows});
    EXPECT_EQ(chunked[0].completion.output, whole.completion.output) << rows;
    EXPECT_EQ(chunked[0].completion.confidence, whole.completion.confidence) << rows;
  }
}

}  // namespace
}  // namespace tessera::property
