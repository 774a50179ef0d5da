// The whole canvas is one window: any undecided position may be committed (Dream,
// arXiv 2508.15487).
#include "tessera/decode/diffusion/canvas/registry.h"

namespace tessera::decode::canvas {
namespace {

class WholePolicy : public CanvasPolicy {
 public:
  Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) override {
    return prompt_length + max_new_tokens;
  }

  Window Next(const SequenceView& view) override {
    if (begin_ < 0) begin_ = FirstUndecided(view);
    return {.begin = begin_,
            .end = view.canvas(),
            .block_begin = begin_,
            .block_end = view.canvas(),
            .num_windows = 1};
  }

 private:
  int32_t begin_ = -1;
};

}  // namespace

const CanvasPolicyEntry& Whole() {
  static const CanvasPolicyEntry entry = {
      .name = "whole",
      .source = "Dream, arXiv 2508.15487",
      .help = "any undecided position at any time",
      .options = {},
      .make = [](const Options&,
                 const ModelTraits& traits) -> Result<std::unique_ptr<CanvasPolicy>> {
        if (traits.attention == ops::AttentionKind::kBlockCausal) {
          return InvalidArgument(
              "canvas=whole needs bidirectional attention; this model is block-causal: use "
              "canvas=blocks");
        }
        return std::unique_ptr<CanvasPolicy>(std::make_unique<WholePolicy>());
      }};
  return entry;
}

}  // namespace tessera::decode::canvas
