// RCR, running confidence remasking (MDPO, arXiv 2508.13148): each step writes every undecided
// position and remembers how sure it was; then the least sure tokens, written now or earlier, are
// masked again, as many as the schedule still has to come. An early token that was a poor guess
// therefore gives way to later ones.
//
// scope=window keeps to the active block. scope=canvas follows the published code: tokens of
// earlier blocks give way too, so no text is final, and none streams or ends the run, before the
// whole canvas is; it cost much and gained nothing (docs/decisions/014-revising-tokens.md).
// Deviation: that code's cosine schedule may keep nothing new in a step and then repeats itself;
// here at least one position less is masked after every step.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class RcrRule : public CommitRule {
 public:
  struct Settings {
    int32_t steps, block_steps;
    bool cosine, canvas;
  };
  explicit RcrRule(const Settings& settings) : settings_(settings) {}

  Status Begin(const CanvasShape& shape) override {
    return CheckSteps(settings_.steps, shape.num_windows);
  }

  RuleNeeds needs() const override {
    return {.revises = settings_.canvas ? RuleNeeds::Reach::kCanvas : RuleNeeds::Reach::kWindow,
            .decided = true};
  }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    for (size_t i = 0; i < context.candidates.size(); ++i) {
      chosen->push_back(static_cast<int32_t>(i));
    }
  }

  void Revise(const CommitContext& context, std::vector<int32_t>* chosen,
              Revision* revision) override {
    const auto written = static_cast<int32_t>(chosen->size());
    // Decided tokens, then those written now: equal ones give way from the end.
    std::vector<float> sureness;
    std::vector<int32_t> revisable;
    for (size_t i = 0; i < context.decided.size(); ++i) {
      if (context.decided[i].fixed) continue;
      revisable.push_back(static_cast<int32_t>(i));
      sureness.push_back(context.decided[i].placed);
    }
    for (const int32_t index : *chosen) {
      sureness.push_back(context.candidates[static_cast<size_t>(index)].confidence);
    }
    // Those that had no prediction stay masked anyway.
    const int32_t masked = std::clamp(StillMasked(context) - (context.window_left - written), 0,
                                      std::max(0, written - 1));
    std::vector<int32_t> order = ByFallingScore(sureness);
    std::vector<int32_t> kept;
    const size_t keep = order.size() - static_cast<size_t>(masked);
    for (size_t rank = 0; rank < order.size(); ++rank) {
      const auto at = static_cast<size_t>(order[rank]);
      const bool is_new = at >= revisable.size();
      if (rank < keep && is_new) kept.push_back((*chosen)[at - revisable.size()]);
      if (rank >= keep && !is_new) revision->remasks.push_back(revisable[at]);
    }
    *chosen = std::move(kept);
  }

 private:
  // Positions of the window that the schedule leaves undecided after this step.
  int32_t StillMasked(const CommitContext& context) const {
    const int32_t total = context.window_undecided;
    const int32_t steps = settings_.steps > 0         ? settings_.steps / context.num_windows
                          : settings_.block_steps > 0 ? settings_.block_steps
                                                      : total;
    const double share = static_cast<double>(context.window_step + 1) / steps;
    if (share >= 1) return 0;
    const double ratio = settings_.cosine ? std::cos(share * std::numbers::pi / 2) : 1 - share;
    // A product that rounds to just below a whole number means that number.
    return static_cast<int32_t>(std::floor(total * ratio + 1e-9));
  }

  Settings settings_;
};

}  // namespace

const CommitRuleEntry& Rcr() {
  static const CommitRuleEntry entry = {
      .name = "rcr",
      .source = "MDPO, arXiv 2508.13148",
      .help = "writes everything, then takes back the least sure tokens of all steps",
      .main_option = "steps",
      .options = {IntOption("steps", 0, 0, 1 << 20,
                            "steps over the whole canvas; 0: see block_steps"),
                  IntOption("block_steps", 0, 0, 1 << 20, "steps per block; 0: one token per step"),
                  ChoiceOption("schedule", "linear", {"linear", "cosine"},
                               "how many positions stay undecided from step to step"),
                  ChoiceOption("scope", "window", {"window", "canvas"},
                               "take back tokens of the active block, or of earlier ones too; with "
                               "canvas no text streams before the end")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<RcrRule>(
            RcrRule::Settings{.steps = static_cast<int32_t>(options.Int("steps")),
                              .block_steps = static_cast<int32_t>(options.Int("block_steps")),
                              .cosine = options.String("schedule") == "cosine",
                              .canvas = options.String("scope") == "canvas"});
      }};
  return entry;
}

}  // namespace tessera::decode::commit
