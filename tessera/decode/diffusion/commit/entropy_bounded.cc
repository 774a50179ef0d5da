// Entropy-bounded unmasking (EB-Sampler, arXiv 2505.24857): predictions by rising entropy while
// their sum stays below gamma, at least one. The paper bounds sum(H) - max(H), since that is what
// bounds the error of sampling independently; SDAR's engines compare the plain sum.
#include <algorithm>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class EntropyBoundedRule : public CommitRule {
 public:
  EntropyBoundedRule(float gamma, bool drop_largest) : gamma_(gamma), drop_largest_(drop_largest) {}

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    std::vector<float> scores;
    for (const Candidate& candidate : context.candidates) {
      scores.push_back(-candidate.stats->entropy);
    }
    float sum = 0;
    for (const int32_t index : ByFallingScore(scores)) {
      const float entropy = -scores[static_cast<size_t>(index)];
      // Entropies rise, so the newest is the largest of the prefix.
      const bool fits = drop_largest_ ? sum <= gamma_ : sum + entropy < gamma_;
      if (!chosen->empty() && !fits) break;
      sum += entropy;
      chosen->push_back(index);
    }
  }

 private:
  float gamma_;
  bool drop_largest_;
};

}  // namespace

const CommitRuleEntry& EntropyBounded() {
  static const CommitRuleEntry entry = {
      .name = "entropy_bounded",
      .source = "EB-Sampler, arXiv 2505.24857; SDAR, arXiv 2510.06303",
      .help = "the most certain predictions while the sum of their entropies stays below gamma",
      .main_option = "gamma",
      .options = {FloatOption("gamma", 0.35, 0, 1e6, "bound in nats"),
                  ChoiceOption("bound", "sum", {"sum", "sum_minus_max"},
                               "what is bounded: SDAR's plain sum or the paper's")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<EntropyBoundedRule>(static_cast<float>(options.Float("gamma")),
                                                    options.String("bound") == "sum_minus_max");
      }};
  return entry;
}

}  // namespace tessera::decode::commit
