// LocalLeap (arXiv 2510.07081): around a very confident prediction, an anchor, others are reliable
// at lower confidence. Anchors are the candidates at or above `anchor`; within `radius` positions
// of one, `relaxed` is enough; without one only the best is committed.
//
// The paper is not clear on two points, so both are options (measured in docs/decisions). anchors:
// the code we know of derives them from this step's candidates alone; `decided` lets confident
// tokens of earlier steps of the block count too. decay: that code has one relaxed level; `on`
// raises it linearly with the distance, from `relaxed` next to the anchor to `anchor` just outside
// the radius.
#include <algorithm>
#include <cstdlib>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class LocalLeapRule : public CommitRule {
 public:
  struct Levels {
    float anchor, relaxed;
    int32_t radius;
    bool decided_anchors, decay;
  };
  explicit LocalLeapRule(const Levels& levels) : levels_(levels) {}

  RuleNeeds needs() const override { return {.decided = levels_.decided_anchors}; }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    std::vector<int32_t> anchors;  // positions
    for (const Candidate& candidate : context.candidates) {
      if (candidate.confidence >= levels_.anchor) anchors.push_back(candidate.position);
    }
    for (const Decided& decided : context.decided) {
      if (!decided.given && decided.placed >= levels_.anchor) anchors.push_back(decided.position);
    }
    const int32_t best = MostConfident(context.candidates);
    for (int32_t i = 0; i < static_cast<int32_t>(context.candidates.size()); ++i) {
      const Candidate& candidate = context.candidates[static_cast<size_t>(i)];
      if (i == best || candidate.confidence >= LevelAt(candidate.position, anchors)) {
        chosen->push_back(i);
      }
    }
  }

 private:
  float LevelAt(int32_t position, const std::vector<int32_t>& anchors) const {
    int32_t distance = levels_.radius + 1;
    for (const int32_t anchor : anchors) {
      distance = std::min(distance, std::abs(anchor - position));
    }
    if (distance == 0 || distance > levels_.radius) return levels_.anchor;
    if (!levels_.decay) return std::min(levels_.relaxed, levels_.anchor);
    const float share = static_cast<float>(distance - 1) / static_cast<float>(levels_.radius);
    return levels_.relaxed + (levels_.anchor - levels_.relaxed) * share;
  }

  Levels levels_;
};

}  // namespace

const CommitRuleEntry& LocalLeap() {
  static const CommitRuleEntry entry = {
      .name = "local_leap",
      .source = "LocalLeap, arXiv 2510.07081",
      .help = "a threshold that is relaxed near very confident predictions",
      .main_option = "relaxed",
      .options = {FloatOption("relaxed", 0.75, 0, 2, "least confidence near an anchor"),
                  FloatOption("anchor", 0.9, 0, 2, "confidence that makes an anchor"),
                  IntOption("radius", 4, 0, 1 << 20, "how many positions an anchor reaches"),
                  ChoiceOption("anchors", "step", {"step", "decided"},
                               "this step's predictions, or decided tokens of the block too"),
                  BoolOption("decay", false, "raise the relaxed level with the distance")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<LocalLeapRule>(
            LocalLeapRule::Levels{.anchor = static_cast<float>(options.Float("anchor")),
                                  .relaxed = static_cast<float>(options.Float("relaxed")),
                                  .radius = static_cast<int32_t>(options.Int("radius")),
                                  .decided_anchors = options.String("anchors") == "decided",
                                  .decay = options.Bool("decay")});
      }};
  return entry;
}

}  // namespace tessera::decode::commit
