// ReMDM (arXiv 2503.00307) in its form for LLaDA: the static quota, and late in a block `extra`
// steps that do not advance. Each masks again the `number` tokens of the block that were least sure
// when they were placed, and then commits as many.
//
// The published loop masks before a forward, here it is done after the step before it, so a token
// placed in that very step is not placed at all. Extra steps come after 7/8 of the block's length
// in steps, or at the end of the quota when that is shorter. Deviations: a step whose tokens would
// all be masked again, and nothing else, would be repeated until the extra steps are over, so it
// ends them; and quotas are each block's own (the published ones add up for one token per step
// only).
#include <algorithm>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class RemdmRule : public CommitRule {
 public:
  struct Settings {
    int32_t steps, block_steps, extra, number;
    double from;
  };
  explicit RemdmRule(const Settings& settings) : settings_(settings) {}

  Status Begin(const CanvasShape& shape) override {
    return CheckSteps(settings_.steps, shape.num_windows);
  }

  RuleNeeds needs() const override {
    return {.revises = RuleNeeds::Reach::kWindow, .decided = true};
  }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    if (context.window_step == 0) {
      quota_steps_ = extra_steps_ = 0;
      is_extra_ = false;
    }
    const int32_t count = is_extra_
                              ? taken_back_
                              : LinearQuota(context.window_undecided, Steps(context), quota_steps_);
    ++(is_extra_ ? extra_steps_ : quota_steps_);
    *chosen = ByFallingConfidence(context.candidates);
    chosen->resize(std::min(chosen->size(), static_cast<size_t>(std::max(count, 1))));
  }

  void Revise(const CommitContext& context, std::vector<int32_t>* chosen,
              Revision* revision) override {
    is_extra_ = quota_steps_ >= FirstExtra(context) && extra_steps_ < settings_.extra;
    if (!is_extra_) return;
    std::vector<float> doubt;
    std::vector<int32_t> revisable;
    for (size_t i = 0; i < context.decided.size(); ++i) {
      if (context.decided[i].fixed) continue;
      revisable.push_back(static_cast<int32_t>(i));
      doubt.push_back(-context.decided[i].placed);
    }
    for (const int32_t index : *chosen) {
      doubt.push_back(-context.candidates[static_cast<size_t>(index)].confidence);
    }
    std::vector<int32_t> order = ByFallingScore(doubt);
    order.resize(std::min(order.size(), static_cast<size_t>(settings_.number)));
    taken_back_ = static_cast<int32_t>(order.size());
    std::vector<int32_t> dropped;
    for (const int32_t at : order) {
      const auto index = static_cast<size_t>(at);
      if (index < revisable.size()) {
        revision->remasks.push_back(revisable[index]);
      } else {
        dropped.push_back((*chosen)[index - revisable.size()]);
      }
    }
    if (revision->remasks.empty() && dropped.size() == chosen->size()) {
      is_extra_ = false;
      extra_steps_ = settings_.extra;
      return;
    }
    std::erase_if(*chosen, [&](int32_t index) {
      return std::find(dropped.begin(), dropped.end(), index) != dropped.end();
    });
  }

 private:
  int32_t Steps(const CommitContext& context) const {
    if (settings_.steps > 0) return settings_.steps / context.num_windows;
    return settings_.block_steps > 0 ? settings_.block_steps : context.window_undecided;
  }
  int32_t FirstExtra(const CommitContext& context) const {
    const int32_t length = context.window_length;
    const auto from = static_cast<int32_t>(settings_.from * length);
    return std::min(std::max(std::min(from, length - 1), 1), Steps(context));
  }
  Settings settings_;
  int32_t quota_steps_ = 0, extra_steps_ = 0;  // of this window so far
  bool is_extra_ = false;                      // the next step
  int32_t taken_back_ = 0;                     // for it
};

}  // namespace

const CommitRuleEntry& Remdm() {
  static const CommitRuleEntry entry = {
      .name = "remdm",
      .source = "ReMDM, arXiv 2503.00307",
      .help = "the static quota, and late in a block steps that replace the least sure tokens",
      .main_option = "steps",
      .options = {IntOption("steps", 0, 0, 1 << 20,
                            "steps over the whole canvas, extra ones aside; 0: see block_steps"),
                  IntOption("block_steps", 0, 0, 1 << 20, "steps per block; 0: one token per step"),
                  IntOption("extra", 4, 0, 1 << 20, "steps per block that replace tokens"),
                  IntOption("number", 2, 1, 1 << 20, "tokens that each of them replaces"),
                  FloatOption("from", 0.875, 0, 1,
                              "share of the block's length in steps after which they come")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        const auto get = [&](const char* name) { return static_cast<int32_t>(options.Int(name)); };
        return std::make_unique<RemdmRule>(RemdmRule::Settings{.steps = get("steps"),
                                                               .block_steps = get("block_steps"),
                                                               .extra = get("extra"),
                                                               .number = get("number"),
                                                               .from = options.Float("from")});
      }};
  return entry;
}

}  // namespace tessera::decode::commit
