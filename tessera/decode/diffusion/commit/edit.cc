// Token editing (LLaDA2.1): each step writes two sets. Mask to token: undecided positions above the
// threshold, or the static quota's best when those are fewer. Token to token: decided positions
// where the model now prefers another token with more than `replace`. When nothing is undecided,
// steps go on until one replaces nothing, at most `post_steps`.
//
// scope=window edits the active block. scope=canvas edits earlier blocks too, wherever their rows
// are evaluated (LLaDA2.1's multi-block editing without its extra passes); then no text is final,
// and none streams, before the whole canvas is. A row that the cache reuses is not looked at.
// Defaults are those of the public port (0.7, 0.5, 16 steps); its fast setting is threshold=0.5.
#include <algorithm>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class EditRule : public CommitRule {
 public:
  struct Settings {
    float threshold, replace;
    int32_t block_steps, post_steps;
    bool canvas;
  };
  explicit EditRule(const Settings& settings) : settings_(settings) {}

  RuleNeeds needs() const override {
    return {.revises = settings_.canvas ? RuleNeeds::Reach::kCanvas : RuleNeeds::Reach::kWindow,
            .decided = true,
            .decided_rows = true};
  }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    const int32_t steps = settings_.block_steps > 0 ? settings_.block_steps : context.window_length;
    const auto quota = static_cast<size_t>(
        std::max(1, LinearQuota(context.window_length, steps, context.window_step)));
    *chosen = ByFallingConfidence(context.candidates);
    const auto above = static_cast<size_t>(std::count_if(
        context.candidates.begin(), context.candidates.end(),
        [&](const Candidate& candidate) { return candidate.confidence > settings_.threshold; }));
    chosen->resize(std::min(chosen->size(), std::max(above, quota)));
  }

  void Revise(const CommitContext& context, std::vector<int32_t>* chosen,
              Revision* revision) override {
    post_steps_ = context.candidates.empty() ? post_steps_ + 1 : 0;
    if (settings_.replace >= 1) return;  // no probability exceeds it
    for (size_t i = 0; i < context.decided.size(); ++i) {
      const Decided& decided = context.decided[i];
      if (decided.fixed || decided.stats == nullptr) continue;
      const RowStats& now = *decided.stats;
      if (now.sampled != decided.token && now.p_sampled > settings_.replace) {
        revision->edits.push_back(
            {.index = static_cast<int32_t>(i), .token = now.sampled, .probability = now.p_sampled});
      }
    }
    // What this step wrote is worth a look once the last mask is gone.
    const bool wrote = !chosen->empty() || !revision->edits.empty();
    revision->hold = wrote && post_steps_ < settings_.post_steps;
  }

 private:
  Settings settings_;
  int32_t post_steps_ = 0;  // looks at a window without masks so far
};

}  // namespace

const CommitRuleEntry& Edit() {
  static const CommitRuleEntry entry = {
      .name = "edit",
      .source = "LLaDA2.1 (2026)",
      .help = "a threshold, and decided tokens are replaced while the model prefers others",
      .main_option = "threshold",
      .options = {FloatOption("threshold", 0.7, 0, 2, "confidence that must be exceeded"),
                  FloatOption("replace", 0.5, 0, 1,
                              "probability that another token must exceed; 1: no edits"),
                  IntOption("block_steps", 0, 0, 1 << 20,
                            "steps per block of the quota; 0: one token per step"),
                  IntOption("post_steps", 16, 0, 1 << 20,
                            "most steps after the last mask of a block"),
                  ChoiceOption("scope", "window", {"window", "canvas"},
                               "edit the active block, or whatever is evaluated; with canvas no "
                               "text streams before the end")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<EditRule>(
            EditRule::Settings{.threshold = static_cast<float>(options.Float("threshold")),
                               .replace = static_cast<float>(options.Float("replace")),
                               .block_steps = static_cast<int32_t>(options.Int("block_steps")),
                               .post_steps = static_cast<int32_t>(options.Int("post_steps")),
                               .canvas = options.String("scope") == "canvas"});
      }};
  return entry;
}

}  // namespace tessera::decode::commit
