// Exact block cache for block-causal models (SDAR, arXiv 2510.06303; Fast-dLLM v2,
// arXiv 2509.26328): K/V of a finished block never change, so each block is stored once from its
// decided tokens (the finalise pass) and only the active block is recomputed.
//
// Ownership of slots: [0, final_end_) hold final K/V; [final_end_, block_end) are scratch of the
// active block, overwritten by every step. When a rule changes a token before final_end_, every row
// from its block on is recomputed: those rows have seen the old one.
#include <algorithm>

#include "tessera/decode/diffusion/cache/registry.h"

namespace tessera::decode::cache {
namespace {

class ExactPolicy : public CachePolicy {
 public:
  ExactPolicy(int32_t block, bool fused, bool greedy_first, bool sub_cache)
      : block_(block), fused_(fused), greedy_first_(greedy_first), sub_cache_(sub_cache) {}

  CachePlan Plan(const CacheContext& context) override {
    const SequenceView& view = context.view;
    const Window& window = context.window;
    // Everything before the active block is decided; the block itself may be decided too while its
    // rule still revises it.
    const int32_t known_end = window.block_begin;
    const int32_t end = window.block_end;
    if (known_end > final_end_ && !fused_) {
      pending_end_ = known_end;
      return {.kind = final_end_ == 0 ? ForwardKind::kFull : ForwardKind::kFinalise,
              .rows = {final_end_, known_end},
              .keys = {0, known_end},
              .predict = greedy_first_ && !view.is_committed(known_end) ? Predict::kFirstToken
                                                                        : Predict::kNothing};
    }
    const int32_t begin = final_end_;
    pending_end_ = known_end;
    // Inside the block the sub-window alone may be recomputed once its first token is known: the
    // row that predicts a shifted position then lies in the window (Fast-dLLM v2).
    if (sub_cache_ && begin == known_end && block_stored_ == window.block_begin + 1 &&
        !context.new_window && view.is_committed(window.begin)) {
      return {.kind = ForwardKind::kWindow, .rows = {window.begin, window.end}, .keys = {0, end}};
    }
    block_stored_ = window.block_begin + 1;
    return {.kind = begin == 0 ? ForwardKind::kFull : ForwardKind::kWindow,
            .rows = {begin, end},
            .keys = {0, end}};
  }

  void Ran(const CacheFeedback& feedback) override {
    final_end_ = std::max(final_end_, pending_end_);
    for (const int32_t position : feedback.changed) {
      final_end_ = std::min(final_end_, position / block_ * block_);
    }
  }

 private:
  int32_t block_;
  bool fused_, greedy_first_, sub_cache_;
  int32_t final_end_ = 0;     // multiple of block_
  int32_t pending_end_ = 0;   // final_end_ once the planned forward has run
  int32_t block_stored_ = 0;  // block_begin + 1 of the block whose rows are in scratch; 0: none
};

}  // namespace

const CachePolicyEntry& Exact() {
  static const CachePolicyEntry entry = {
      .name = "exact",
      .source = "SDAR, arXiv 2510.06303; Fast-dLLM v2, arXiv 2509.26328",
      .help = "block-causal models: store each finished block once, recompute only the active one",
      .options = {ChoiceOption("finalise", "auto", {"auto", "fused", "separate"},
                               "store a finished block together with the next block's first step "
                               "(auto: separate where first=greedy)"),
                  ChoiceOption("first", "auto", {"auto", "greedy", "rule"},
                               "first token of a block: the finalise pass's choice, or like any "
                               "other (auto: greedy for shifted models, as Fast-dLLM v2)"),
                  BoolOption("sub_cache", false,
                             "recompute only the sub-block where that is possible")},
      .make = [](const Options& options,
                 const ModelTraits& traits) -> Result<std::unique_ptr<CachePolicy>> {
        if (traits.attention != ops::AttentionKind::kBlockCausal) {
          return InvalidArgument(
              "cache=exact needs a block-causal model; this one is {}: use cache=none, prefix or "
              "dual",
              ops::Name(traits.attention));
        }
        const std::string& first = options.String("first");
        const std::string& finalise = options.String("finalise");
        const bool greedy_first =
            first == "greedy" || (first == "auto" && finalise != "fused" && traits.shifted_logits);
        if (greedy_first && !traits.shifted_logits) {
          return InvalidArgument(
              "option first: greedy needs shifted logits, which this model does not have; "
              "accepted: auto|rule");
        }
        if (greedy_first && finalise == "fused") {
          return InvalidArgument("first=greedy needs finalise=separate (or auto)");
        }
        const bool fused = finalise == "fused" || (finalise == "auto" && !greedy_first);
        return std::unique_ptr<CachePolicy>(std::make_unique<ExactPolicy>(
            traits.block, fused, greedy_first, options.Bool("sub_cache")));
      }};
  return entry;
}

}  // namespace tessera::decode::cache
