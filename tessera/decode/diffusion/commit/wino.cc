// WINO (arXiv 2507.18578): commit eagerly, verify, take back. Every forward also evaluates a shadow
// of the block, masks that see every token but the one they stand for. Predictions above
// `threshold` are committed, at most clamp(0.7 * undecided, 5, 20) of them and at least the best;
// if they are more than one, decided tokens whose shadow gives them less than `verify` are taken
// back, the least probable first, at most one fewer than the step before committed. Commits
// therefore outnumber tokens taken back by one per step at least, and a block ends.
#include <algorithm>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

// The published code's limits on commits per step.
constexpr double kShare = 0.7;
constexpr int32_t kFewest = 5, kMost = 20;

class WinoRule : public CommitRule {
 public:
  WinoRule(float threshold, float verify) : threshold_(threshold), verify_(verify) {}

  RuleNeeds needs() const override {
    return {.revises = RuleNeeds::Reach::kWindow, .decided = true, .shadow_rows = true};
  }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    const int32_t undecided = static_cast<int32_t>(context.candidates.size());
    const int32_t cap = std::clamp(static_cast<int32_t>(kShare * undecided), kFewest, kMost);
    *chosen = ByFallingConfidence(context.candidates);
    const auto above = std::count_if(
        context.candidates.begin(), context.candidates.end(),
        [&](const Candidate& candidate) { return candidate.confidence > threshold_; });
    chosen->resize(static_cast<size_t>(std::clamp(static_cast<int32_t>(above), 1, cap)));
  }

  void Revise(const CommitContext& context, std::vector<int32_t>* chosen,
              Revision* revision) override {
    const size_t most = context.window_step == 0 || accepted_ == 0 ? 0 : accepted_ - 1;
    accepted_ = chosen->size();
    if (chosen->size() < 2) return;
    std::vector<int32_t> doubtful;
    for (size_t i = 0; i < context.decided.size(); ++i) {
      const Decided& decided = context.decided[i];
      if (!decided.fixed && decided.shadow < verify_) doubtful.push_back(static_cast<int32_t>(i));
    }
    std::stable_sort(doubtful.begin(), doubtful.end(), [&](int32_t a, int32_t b) {
      return context.decided[static_cast<size_t>(a)].shadow <
             context.decided[static_cast<size_t>(b)].shadow;
    });
    doubtful.resize(std::min(doubtful.size(), most));
    revision->remasks = std::move(doubtful);
  }

 private:
  float threshold_, verify_;
  size_t accepted_ = 0;  // commits of the step before
};

}  // namespace

const CommitRuleEntry& Wino() {
  static const CommitRuleEntry entry = {
      .name = "wino",
      .source = "WINO, arXiv 2507.18578",
      .help = "commits eagerly and takes back what a leave-one-out look does not confirm",
      .main_option = "threshold",
      .options = {FloatOption("threshold", 0.6, 0, 2, "confidence that must be exceeded"),
                  FloatOption("verify", 0.9, 0, 1,
                              "probability without seeing itself below which a token is taken "
                              "back")},
      .make_checked = [](const Options& options,
                         const RuleSetup& setup) -> Result<std::unique_ptr<CommitRule>> {
        if (setup.traits.shifted_logits) {
          return InvalidArgument(
              "wino: its check reads a mask that stands at the token's own position; this model "
              "predicts a position from the row before it, which holds a token the check must "
              "keep; accepted: models without shifted logits");
        }
        return std::unique_ptr<CommitRule>(
            std::make_unique<WinoRule>(static_cast<float>(options.Float("threshold")),
                                       static_cast<float>(options.Float("verify"))));
      }};
  return entry;
}

}  // namespace tessera::decode::commit
