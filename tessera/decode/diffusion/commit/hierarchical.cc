// Hierarchical decoding (dInfer, arXiv 2510.08666): the undecided positions of a block form runs;
// of each run the best prediction is committed when it is above `low`, so that runs are split again
// and again and a block takes about log2 of its length; everything above the threshold comes on
// top, and the best of all when nothing qualifies.
//
// With revoke > 0 (dInfer's variant with revocation) decided tokens whose probability has fallen
// below it are taken back, the least probable first, always fewer than are committed in the same
// step, so that a block shrinks with every forward. A row that the cache reuses is not looked at.
#include <algorithm>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class HierarchicalRule : public CommitRule {
 public:
  HierarchicalRule(float threshold, float low, float revoke)
      : threshold_(threshold), low_(low), revoke_(revoke) {}

  RuleNeeds needs() const override {
    if (revoke_ <= 0) return {};
    return {.revises = RuleNeeds::Reach::kWindow, .decided = true, .decided_rows = true};
  }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    const std::span<const Candidate> candidates = context.candidates;
    size_t begin = 0;
    while (begin < candidates.size()) {
      size_t end = begin + 1;
      while (end < candidates.size() &&
             candidates[end].position == candidates[end - 1].position + 1) {
        ++end;
      }
      const size_t best =
          begin + static_cast<size_t>(MostConfident(candidates.subspan(begin, end - begin)));
      for (size_t i = begin; i < end; ++i) {
        const float confidence = candidates[i].confidence;
        if (confidence > threshold_ || (i == best && confidence > low_)) {
          chosen->push_back(static_cast<int32_t>(i));
        }
      }
      begin = end;
    }
    if (chosen->empty()) chosen->push_back(MostConfident(candidates));
  }

  void Revise(const CommitContext& context, std::vector<int32_t>* chosen,
              Revision* revision) override {
    std::vector<int32_t>& doubtful = revision->remasks;
    for (size_t i = 0; i < context.decided.size(); ++i) {
      const Decided& decided = context.decided[i];
      if (!decided.fixed && decided.stats != nullptr && decided.probability < revoke_) {
        doubtful.push_back(static_cast<int32_t>(i));
      }
    }
    std::stable_sort(doubtful.begin(), doubtful.end(), [&](int32_t a, int32_t b) {
      return context.decided[static_cast<size_t>(a)].probability <
             context.decided[static_cast<size_t>(b)].probability;
    });
    const size_t most = chosen->empty() ? 0 : chosen->size() - 1;
    doubtful.resize(std::min(doubtful.size(), most));
  }

 private:
  float threshold_, low_, revoke_;
};

}  // namespace

const CommitRuleEntry& Hierarchical() {
  static const CommitRuleEntry entry = {
      .name = "hierarchical",
      .source = "dInfer, arXiv 2510.08666",
      .help = "the best prediction of every undecided run, and all above the threshold",
      .main_option = "threshold",
      .options = {FloatOption("threshold", 0.9, 0, 2, "confidence that is always enough"),
                  FloatOption("low", 0.4, 0, 2, "confidence that the best of a run must exceed"),
                  FloatOption("revoke", 0, 0, 1,
                              "take decided tokens back when their probability is below this; 0: "
                              "never")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<HierarchicalRule>(static_cast<float>(options.Float("threshold")),
                                                  static_cast<float>(options.Float("low")),
                                                  static_cast<float>(options.Float("revoke")));
      }};
  return entry;
}

}  // namespace tessera::decode::commit
