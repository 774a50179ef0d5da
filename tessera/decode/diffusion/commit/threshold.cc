// Threshold decoding (Fast-dLLM, arXiv 2505.22618, section 3.3): commit every prediction whose
// confidence reaches the threshold, and always the best one. A threshold above 1 therefore commits
// one token per step.
#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class ThresholdRule : public CommitRule {
 public:
  ThresholdRule(float threshold, bool strict) : threshold_(threshold), strict_(strict) {}

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    const int32_t best = MostConfident(context.candidates);
    for (int32_t i = 0; i < static_cast<int32_t>(context.candidates.size()); ++i) {
      const float confidence = context.candidates[static_cast<size_t>(i)].confidence;
      const bool passes = strict_ ? confidence > threshold_ : confidence >= threshold_;
      if (passes || i == best) chosen->push_back(i);
    }
  }

 private:
  float threshold_;
  bool strict_;
};

}  // namespace

const CommitRuleEntry& Threshold() {
  static const CommitRuleEntry entry = {
      .name = "threshold",
      .source = "Fast-dLLM, arXiv 2505.22618",
      .help = "every prediction at or above the threshold, and always the best one",
      .main_option = "threshold",
      .options = {FloatOption("threshold", 0.9, 0, 2, "least confidence; above 1: one per step"),
                  BoolOption("strict", false, "compare with > instead of >= (Fast-dLLM v2)")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<ThresholdRule>(static_cast<float>(options.Float("threshold")),
                                               options.Bool("strict"));
      }};
  return entry;
}

}  // namespace tessera::decode::commit
