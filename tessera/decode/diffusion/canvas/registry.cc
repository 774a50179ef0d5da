#include "tessera/decode/diffusion/canvas/registry.h"

#include "tessera/decode/diffusion/canvas/end_of_text.h"
#include "tessera/decode/diffusion/canvas/suffix_dropout.h"

namespace tessera::decode {

const std::vector<const CanvasPolicyEntry*>& CanvasPolicies() {
  static const std::vector<const CanvasPolicyEntry*> policies = {
      &canvas::Blocks(), &canvas::Whole(), &canvas::AdaBlock(), &canvas::MultiBlock(),
      &canvas::SlowFast()};
  return policies;
}

const std::vector<OptionSpec>& CanvasExtras() {
  static const std::vector<OptionSpec> specs = {
      ChoiceOption("eotp", "off", {"off", "decided", "predicted"},
                   "drop what follows the end of the text: once it is decided, or already when "
                   "some position predicts it (Learn2PD, arXiv 2509.25188)"),
      FloatOption("eotp_threshold", 0, 0, 1, "least probability of that prediction"),
      IntOption("dpad", 0, 0, 1 << 20,
                "undecided positions this far behind the window may be seen, a random few; 0: all "
                "(DPad, arXiv 2508.14148)"),
      FloatOption("dpad_density", 2, 0, 1e6, "factor of their survival probability"),
      FloatOption("dpad_spread", 4, 0, 100,
                  "standard deviations of the normal curve that this distance covers")};
  return specs;
}

Result<std::unique_ptr<CanvasPolicy>> WithCanvasExtras(std::unique_ptr<CanvasPolicy> base,
                                                       const Options& options,
                                                       const ModelTraits& traits) {
  const std::string& eotp = options.String("eotp");
  if (eotp != "off") {
    if (traits.stop_ids.empty()) {
      return InvalidArgument(
          "option eotp: got {}, but this model has no end-of-text token; "
          "accepted: off",
          eotp);
    }
    base = canvas::WithEndOfTextTruncation(
        std::move(base),
        eotp == "decided" ? canvas::EndOfTextRule::kDecided : canvas::EndOfTextRule::kPredicted,
        options.Float("eotp_threshold"), traits.stop_ids);
  }
  const int32_t dpad = static_cast<int32_t>(options.Int("dpad"));
  if (dpad > 0) {
    if (traits.attention == ops::AttentionKind::kBlockCausal) {
      return InvalidArgument(
          "option dpad: got {}, but a block-causal model sees nothing behind its block; accepted: "
          "0",
          dpad);
    }
    base = canvas::WithSuffixDropout(std::move(base), {.window = dpad,
                                                       .density = options.Float("dpad_density"),
                                                       .spread = options.Float("dpad_spread")});
  }
  return base;
}

}  // namespace tessera::decode
