// Semi-autoregressive blocks (LLaDA, arXiv 2502.09992, appendix B): blocks are finished left to
// right. Bidirectional models count blocks from the first undecided position, block-causal ones
// from position 0 in the size they were trained with; those may be split into sub-blocks
// (Fast-dLLM v2, arXiv 2509.26328).
#include <algorithm>

#include "tessera/decode/diffusion/canvas/registry.h"

namespace tessera::decode::canvas {
namespace {

constexpr int32_t kDefaultBlock = 32;  // what LLaDA's successors evaluate with

class BlocksPolicy : public CanvasPolicy {
 public:
  // block 0: kDefaultBlock with a shorter last block. aligned: blocks start at multiples of block.
  BlocksPolicy(int32_t block, bool aligned, int32_t sub_block)
      : block_(block > 0 ? block : kDefaultBlock),
        must_divide_(block > 0 && !aligned),
        aligned_(aligned),
        sub_block_(sub_block > 0 ? sub_block : block_) {}

  Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) override {
    if (must_divide_ && max_new_tokens % block_ != 0) {
      return InvalidArgument(
          "option block: got {}, accepted: a divisor of the {} new tokens (or leave it out)",
          block_, max_new_tokens);
    }
    const int32_t length = prompt_length + max_new_tokens;
    return aligned_ ? RoundUp(length, block_) : length;
  }

  Window Next(const SequenceView& view) override {
    const int32_t first = FirstUndecided(view);
    if (origin_ < 0) origin_ = aligned_ ? first / block_ * block_ : first;
    const int32_t block_begin = origin_ + (first - origin_) / block_ * block_;
    const int32_t block_end = std::min(block_begin + block_, view.canvas());
    const int32_t begin = block_begin + (first - block_begin) / sub_block_ * sub_block_;
    return {.begin = begin,
            .end = std::min(begin + sub_block_, block_end),
            .block_begin = block_begin,
            .block_end = block_end,
            .num_windows = RoundUp(view.canvas() - origin_, sub_block_) / sub_block_};
  }

 private:
  static int32_t RoundUp(int32_t value, int32_t unit) { return (value + unit - 1) / unit * unit; }

  int32_t block_;
  bool must_divide_, aligned_;
  int32_t sub_block_;
  int32_t origin_ = -1;  // where block 0 begins
};

Result<std::unique_ptr<CanvasPolicy>> Make(const Options& options, const ModelTraits& traits) {
  int32_t block = static_cast<int32_t>(options.Int("block"));
  const int32_t sub_block = static_cast<int32_t>(options.Int("sub_block"));
  const bool aligned = traits.attention == ops::AttentionKind::kBlockCausal;
  if (aligned) {
    if (block != 0 && block != traits.block) {
      return InvalidArgument(
          "option block: got {}, accepted: {} (the model's own; sub_block splits it further)",
          block, traits.block);
    }
    block = traits.block;
  }
  if (sub_block > 0 && (block == 0 ? kDefaultBlock : block) % sub_block != 0) {
    return InvalidArgument("option sub_block: got {}, accepted: a divisor of the block of {}",
                           sub_block, block == 0 ? kDefaultBlock : block);
  }
  return std::unique_ptr<CanvasPolicy>(std::make_unique<BlocksPolicy>(block, aligned, sub_block));
}

}  // namespace

const CanvasPolicyEntry& Blocks() {
  static const CanvasPolicyEntry entry = {
      .name = "blocks",
      .source = "LLaDA, arXiv 2502.09992",
      .help = "blocks of fixed length, left to right",
      .options = {IntOption("block", 0, 0, 1 << 20,
                            "positions per block; 0: 32, or what a block-causal model needs"),
                  IntOption("sub_block", 0, 0, 1 << 20,
                            "commit only within sub-blocks of this length; 0: off")},
      .make = Make};
  return entry;
}

}  // namespace tessera::decode::canvas
