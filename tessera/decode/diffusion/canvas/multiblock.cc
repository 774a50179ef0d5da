// Several blocks at once (D2F, arXiv 2508.09192; d3LLM, arXiv 2601.07568, whose thresholds are
// 0.5). A block joins when `add` of the one before it is decided. It is fully active, and then
// commits its best prediction in every step, when `activate` of the one before it is decided; until
// then it commits only what the rule would choose for its own sake.
//
// Deviation: the rule is asked once for all active blocks, not once per block. Where it chooses a
// single prediction in a block that is not fully active, that may be the rule's forced choice, so
// it waits; a prediction that deserved it passes again in the next step.
#include <algorithm>

#include "tessera/decode/diffusion/canvas/registry.h"

namespace tessera::decode::canvas {
namespace {

constexpr int32_t kDefaultBlock = 32;  // D2F evaluates 16 to 64

class MultiBlockPolicy : public CanvasPolicy {
 public:
  MultiBlockPolicy(int32_t block, bool aligned, double add, double activate, int32_t max_blocks)
      : block_(block),
        aligned_(aligned),
        add_(add),
        activate_(activate),
        max_blocks_(max_blocks > 0 ? max_blocks : 1 << 20) {}

  Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) override {
    const int32_t length = prompt_length + max_new_tokens;
    return aligned_ ? (length + block_ - 1) / block_ * block_ : length;
  }

  Window Next(const SequenceView& view) override {
    const int32_t first = FirstUndecided(view);
    if (origin_ < 0) origin_ = aligned_ ? first / block_ * block_ : first;
    // A rule that takes tokens back may reopen an earlier block.
    begin_ = origin_ + std::max(0, first - origin_) / block_ * block_;
    if (first < origin_) begin_ = origin_ = first;
    end_ = std::max(end_, EndOfBlock(view, begin_));
    int32_t active = (end_ - begin_ + block_ - 1) / block_;
    while (end_ < view.canvas() && active < max_blocks_ &&
           Decided(view, begin_ + (active - 1) * block_) >= add_) {
      end_ = EndOfBlock(view, end_);
      ++active;
    }
    end_ = std::min(end_, view.canvas());
    return {.begin = begin_,
            .end = end_,
            .block_begin = begin_,
            .block_end = end_,
            .num_windows = (view.canvas() - origin_ + block_ - 1) / block_};
  }

  void Adjust(const SequenceView& view, std::span<const Candidate> candidates,
              std::vector<int32_t>* chosen) override {
    const auto fully_active = [&](int32_t index) {
      return FullyActive(view, BlockOf(candidates[static_cast<size_t>(index)].position));
    };
    // Candidates ascend, so the first block that has any is the first to be fully active.
    if (chosen->size() == 1 && fully_active(0) && !fully_active(chosen->front())) chosen->clear();
    for (size_t i = 0; i < candidates.size();) {
      const int32_t block = BlockOf(candidates[i].position);
      size_t end = i;
      while (end < candidates.size() && BlockOf(candidates[end].position) == block) ++end;
      const bool has = std::any_of(chosen->begin(), chosen->end(), [&](int32_t index) {
        return index >= static_cast<int32_t>(i) && index < static_cast<int32_t>(end);
      });
      if (!has && FullyActive(view, block)) {
        chosen->push_back(static_cast<int32_t>(i) + MostConfident(candidates.subspan(i, end - i)));
      }
      i = end;
    }
  }

 private:
  int32_t BlockOf(int32_t position) const { return begin_ + (position - begin_) / block_ * block_; }
  int32_t EndOfBlock(const SequenceView& view, int32_t begin) const {
    return std::min(begin + block_, view.canvas());
  }
  // Share of the block at `begin` that is decided.
  double Decided(const SequenceView& view, int32_t begin) const {
    const int32_t end = EndOfBlock(view, begin);
    if (begin >= end) return 1;
    return 1 - static_cast<double>(CountUndecided(view, begin, end)) / (end - begin);
  }
  bool FullyActive(const SequenceView& view, int32_t block) const {
    return block <= begin_ || Decided(view, block - block_) >= activate_;
  }

  int32_t block_;
  bool aligned_;
  double add_, activate_;
  int32_t max_blocks_;
  int32_t origin_ = -1;  // where block 0 begins
  int32_t begin_ = 0;    // of the first unfinished block
  int32_t end_ = 0;      // of the last active one
};

}  // namespace

const CanvasPolicyEntry& MultiBlock() {
  static const CanvasPolicyEntry entry = {
      .name = "multiblock",
      .source = "D2F, arXiv 2508.09192; d3LLM, arXiv 2601.07568",
      .help = "a pipeline of blocks: the next begins before the last is done",
      .options = {IntOption("block", 0, 0, 1 << 20,
                            "positions per block; 0: 32, or what a block-causal model needs"),
                  FloatOption("add", 0.1, 0, 1,
                              "share of a block that is decided when the next one joins; 1: blocks "
                              "one after the other"),
                  FloatOption("activate", 0.95, 0, 1,
                              "share of a block that is decided when the next one must commit in "
                              "every step"),
                  IntOption("max_blocks", 0, 0, 1 << 20, "blocks active at once; 0: any number")},
      .make = [](const Options& options,
                 const ModelTraits& traits) -> Result<std::unique_ptr<CanvasPolicy>> {
        int32_t block = static_cast<int32_t>(options.Int("block"));
        const bool aligned = traits.attention == ops::AttentionKind::kBlockCausal;
        if (aligned) {
          if (block != 0 && block != traits.block) {
            return InvalidArgument("option block: got {}, accepted: {} (the model's own)", block,
                                   traits.block);
          }
          block = traits.block;
        }
        return std::unique_ptr<CanvasPolicy>(std::make_unique<MultiBlockPolicy>(
            block > 0 ? block : kDefaultBlock, aligned, options.Float("add"),
            options.Float("activate"), static_cast<int32_t>(options.Int("max_blocks"))));
      }};
  return entry;
}

}  // namespace tessera::decode::canvas
