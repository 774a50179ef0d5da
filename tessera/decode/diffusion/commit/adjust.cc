// ADJUST, approximate joint sampling (arXiv 2509.22738): a forward predicts every position as if it
// stood alone. Here only its best prediction is committed; then a small trained layer corrects what
// the forward found for that token, the best corrected prediction is committed, and so on, until
// `tokens` have come of one forward. A pass of the layer costs one layer and the head.
//
// With a threshold every prediction that reaches it is committed in each pass too, so that sure
// positions need no pass of their own; the published method commits one at a time.
#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class AdjustRule : public CommitRule {
 public:
  AdjustRule(int32_t tokens, float threshold) : tokens_(tokens), threshold_(threshold) {}

  RuleNeeds needs() const override { return {.joint_passes = tokens_ - 1}; }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    const int32_t best = MostConfident(context.candidates);
    for (int32_t i = 0; i < static_cast<int32_t>(context.candidates.size()); ++i) {
      const float confidence = context.candidates[static_cast<size_t>(i)].confidence;
      if (confidence >= threshold_ || i == best) chosen->push_back(i);
    }
  }

 private:
  int32_t tokens_;
  float threshold_;
};

}  // namespace

const CommitRuleEntry& Adjust() {
  static const CommitRuleEntry entry = {
      .name = "adjust",
      .source = "ADJUST, arXiv 2509.22738",
      .help =
          "several tokens of a forward, each chosen in sight of the ones before, by a trained "
          "layer",
      .main_option = "tokens",
      .options = {IntOption("tokens", 4, 1, 64, "tokens per forward; 1: one per step"),
                  FloatOption("threshold", 2, 0, 2,
                              "confidence from which others come along; above 1: none")},
      .make_checked = [](const Options& options,
                         const RuleSetup& setup) -> Result<std::unique_ptr<CommitRule>> {
        const auto tokens = static_cast<int32_t>(options.Int("tokens"));
        if (tokens > 1 && !setup.traits.joint_layer) {
          return InvalidArgument(
              "adjust needs a layer trained for this model, joint.safetensors in its folder "
              "(training/joint.py); accepted without one: tokens=1");
        }
        return std::unique_ptr<CommitRule>(
            std::make_unique<AdjustRule>(tokens, static_cast<float>(options.Float("threshold"))));
      }};
  return entry;
}

}  // namespace tessera::decode::commit
