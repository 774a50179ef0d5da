// Factor decoding (Fast-dLLM, arXiv 2505.22618, section 3.3): sorted by confidence, the n-th
// prediction (n >= 2) is kept while c_(n) >= 1 - f / (n + 1); the first needs nothing. Theorem 1
// there: with (n + 1) * eps <= 1 the parallel greedy choice equals the joint greedy choice.
// The published loop also commits the last rank when it is the only one to fail (quirk=on).
#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class FactorRule : public CommitRule {
 public:
  FactorRule(float factor, bool quirk) : factor_(factor), quirk_(quirk) {}

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    const std::vector<int32_t> order = ByFallingConfidence(context.candidates);
    for (size_t i = 0; i < order.size(); ++i) {
      const float rank = static_cast<float>(i + 1);
      const float confidence = context.candidates[static_cast<size_t>(order[i])].confidence;
      const bool forgiven = quirk_ && i + 1 == order.size();
      if (i > 0 && confidence < 1 - factor_ / (rank + 1) && !forgiven) break;
      chosen->push_back(order[i]);
    }
  }

 private:
  float factor_;
  bool quirk_;
};

}  // namespace

const CommitRuleEntry& Factor() {
  static const CommitRuleEntry entry = {
      .name = "factor",
      .source = "Fast-dLLM, arXiv 2505.22618",
      .help = "the most confident predictions while the n-th is at least 1 - factor / (n + 1)",
      .main_option = "factor",
      .options = {FloatOption("factor", 1.0, 0, 1e6, "larger commits more; 0.7 to 1.9 is usual"),
                  BoolOption("quirk", false, "forgive a failure at the last rank, as published")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<FactorRule>(static_cast<float>(options.Float("factor")),
                                            options.Bool("quirk"));
      }};
  return entry;
}

}  // namespace tessera::decode::commit
