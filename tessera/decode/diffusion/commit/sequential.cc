// SDAR's sequential rule (arXiv 2510.06303): the leftmost undecided positions, a fixed number per
// step.
#include <algorithm>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class SequentialRule : public CommitRule {
 public:
  explicit SequentialRule(int32_t block_steps) : block_steps_(block_steps) {}

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    const int32_t steps = block_steps_ > 0 ? block_steps_ : context.window_length;
    const int32_t quota =
        std::max(1, LinearQuota(context.window_length, steps, context.window_step));
    const int32_t count = std::min(quota, static_cast<int32_t>(context.candidates.size()));
    for (int32_t i = 0; i < count; ++i) chosen->push_back(i);
  }

 private:
  int32_t block_steps_;
};

}  // namespace

const CommitRuleEntry& Sequential() {
  static const CommitRuleEntry entry = {
      .name = "sequential",
      .source = "SDAR, arXiv 2510.06303",
      .help = "the leftmost positions, a fixed number per step",
      .main_option = "block_steps",
      .options = {IntOption("block_steps", 0, 0, 1 << 20,
                            "steps per block; 0: one token per step")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<SequentialRule>(static_cast<int32_t>(options.Int("block_steps")));
      }};
  return entry;
}

}  // namespace tessera::decode::commit
