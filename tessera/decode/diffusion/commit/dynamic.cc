// SDAR's low_confidence_dynamic (arXiv 2510.06303), also LLaDA2.0's rule: every prediction above
// the threshold if they are at least the static quota of the step, else the quota's best.
#include <algorithm>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class DynamicRule : public CommitRule {
 public:
  DynamicRule(float threshold, int32_t block_steps)
      : threshold_(threshold), block_steps_(block_steps) {}

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    const int32_t steps = block_steps_ > 0 ? block_steps_ : context.window_length;
    const size_t quota = static_cast<size_t>(
        std::max(1, LinearQuota(context.window_length, steps, context.window_step)));
    const std::vector<int32_t> order = ByFallingConfidence(context.candidates);
    size_t above = 0;
    while (above < order.size() &&
           context.candidates[static_cast<size_t>(order[above])].confidence > threshold_) {
      ++above;
    }
    const size_t count = std::min(order.size(), std::max(above, quota));
    chosen->insert(chosen->end(), order.begin(), order.begin() + static_cast<int64_t>(count));
  }

 private:
  float threshold_;
  int32_t block_steps_;
};

}  // namespace

const CommitRuleEntry& Dynamic() {
  static const CommitRuleEntry entry = {
      .name = "dynamic",
      .source = "SDAR, arXiv 2510.06303",
      .help = "every prediction above the threshold, but at least the static quota",
      .main_option = "threshold",
      .options = {FloatOption("threshold", 0.85, 0, 2, "confidence that must be exceeded"),
                  IntOption("block_steps", 0, 0, 1 << 20,
                            "steps per block of the quota; 0: one token per step")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<DynamicRule>(static_cast<float>(options.Float("threshold")),
                                             static_cast<int32_t>(options.Int("block_steps")));
      }};
  return entry;
}

}  // namespace tessera::decode::commit
