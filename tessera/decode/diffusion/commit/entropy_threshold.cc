// Entropy-threshold decoding (dParallel, arXiv 2509.26488, section 4): commit every prediction
// whose entropy is at most the threshold, and always the one with the lowest. A model whose correct
// predictions were made certain by dParallel's distillation commits many at once; an ordinary one
// is safe with a lower threshold. The published loop adds 1e-12 inside the logarithm, which changes
// no entropy by more than 1e-9 here.
#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class EntropyThresholdRule : public CommitRule {
 public:
  explicit EntropyThresholdRule(float entropy) : entropy_(entropy) {}

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    int32_t best = 0;
    const auto entropy_of = [&](int32_t i) {
      return context.candidates[static_cast<size_t>(i)].stats->entropy;
    };
    for (int32_t i = 1; i < static_cast<int32_t>(context.candidates.size()); ++i) {
      if (entropy_of(i) < entropy_of(best)) best = i;
    }
    for (int32_t i = 0; i < static_cast<int32_t>(context.candidates.size()); ++i) {
      if (entropy_of(i) <= entropy_ || i == best) chosen->push_back(i);
    }
  }

 private:
  float entropy_;
};

}  // namespace

const CommitRuleEntry& EntropyThreshold() {
  static const CommitRuleEntry entry = {
      .name = "entropy_threshold",
      .source = "dParallel, arXiv 2509.26488",
      .help = "every prediction of at most this entropy, and always the most certain one",
      .main_option = "entropy",
      .options = {FloatOption("entropy", 0.5, -1, 100,
                              "most entropy in nats; below 0: one per step")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<EntropyThresholdRule>(static_cast<float>(options.Float("entropy")));
      }};
  return entry;
}

}  // namespace tessera::decode::commit
