// LLaDA's sampler (arXiv 2502.09992, appendix A) and SDAR's low_confidence_static: a fixed number
// of predictions per step, spread linearly over the steps of a block, best or random first.
#include <algorithm>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class QuotaRule : public CommitRule {
 public:
  QuotaRule(int32_t steps, int32_t block_steps, bool random)
      : steps_(steps), block_steps_(block_steps), random_(random) {}

  Status Begin(const CanvasShape& shape) override { return CheckSteps(steps_, shape.num_windows); }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    // LLaDA spreads the undecided positions of a block, SDAR all of its positions.
    const int32_t total = steps_ > 0 ? context.window_undecided : context.window_length;
    const int32_t steps = steps_ > 0         ? steps_ / context.num_windows
                          : block_steps_ > 0 ? block_steps_
                                             : total;
    const int32_t quota = std::max(1, LinearQuota(total, steps, context.window_step));
    std::vector<int32_t> order;
    if (random_) {
      std::vector<float> scores;
      for (size_t i = 0; i < context.candidates.size(); ++i) {
        scores.push_back(static_cast<float>(
            Uniform(context.key, RngPurpose::kCommit, static_cast<uint32_t>(i))));
      }
      order = ByFallingScore(scores);
    } else {
      order = ByFallingConfidence(context.candidates);
    }
    order.resize(std::min(order.size(), static_cast<size_t>(quota)));
    chosen->insert(chosen->end(), order.begin(), order.end());
  }

 private:
  int32_t steps_, block_steps_;
  bool random_;
};

}  // namespace

const CommitRuleEntry& Quota() {
  static const CommitRuleEntry entry = {
      .name = "quota",
      .source = "LLaDA, arXiv 2502.09992; SDAR, arXiv 2510.06303",
      .help = "a fixed number per step, most confident first",
      .main_option = "steps",
      .options = {IntOption("steps", 0, 0, 1 << 20,
                            "steps over the whole canvas; 0: see block_steps"),
                  IntOption("block_steps", 0, 0, 1 << 20, "steps per block; 0: one token per step"),
                  ChoiceOption("remasking", "low_confidence", {"low_confidence", "random"},
                               "which predictions wait: the least confident, or any")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<QuotaRule>(static_cast<int32_t>(options.Int("steps")),
                                           static_cast<int32_t>(options.Int("block_steps")),
                                           options.String("remasking") == "random");
      }};
  return entry;
}

}  // namespace tessera::decode::commit
