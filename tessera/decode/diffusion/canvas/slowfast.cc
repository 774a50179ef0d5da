// SlowFast (arXiv 2506.10848). A cycle has two phases. The slow one looks at the whole rest of the
// block for a few steps, and each step estimates how far the model is sure of itself: the farthest
// position whose confidence reaches `sure`. The fast one decodes only up to that estimate and,
// from its second step on, computes nothing behind it. Both commit what the rule chooses; the
// published one is threshold=0.9.
#include <algorithm>
#include <cmath>

#include "tessera/decode/diffusion/canvas/registry.h"

namespace tessera::decode::canvas {
namespace {

constexpr int32_t kDefaultBlock = 32;

struct SlowFastConfig {
  int32_t block = kDefaultBlock;
  int32_t slow_steps = 6;
  double sure = 0.3;
  bool early = false;
  bool truncate = true;
};

class SlowFastPolicy : public CanvasPolicy {
 public:
  explicit SlowFastPolicy(const SlowFastConfig& config) : config_(config) {}

  Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) override {
    return prompt_length + max_new_tokens;
  }

  Window Next(const SequenceView& view) override {
    const int32_t first = FirstUndecided(view);
    if (origin_ < 0) origin_ = end_ = first;
    if (first < begin_) origin_ = std::min(origin_, first);
    const int32_t block_begin = origin_ + (first - origin_) / config_.block * config_.block;
    const int32_t block_end = std::min(block_begin + config_.block, view.canvas());
    // A span that is full, or that a rule has reopened from the left, ends the cycle.
    if (first >= end_ || first < begin_) BeginCycle(first, block_end);
    end_ = std::min(end_, view.canvas());
    Window window{.begin = begin_,
                  .end = end_,
                  .block_begin = block_begin,
                  .block_end = block_end,
                  .num_windows = (view.canvas() - origin_ + config_.block - 1) / config_.block,
                  .observed = slow_};
    if (!slow_ && config_.truncate && fast_steps_ > 0) {
      for (int32_t position = end_; position < view.canvas(); ++position) {
        if (!view.is_committed(position)) window.hidden.Add(position);
      }
    }
    if (!slow_) ++fast_steps_;
    return window;
  }

  void Observe(const SequenceView&, std::span<const Candidate> predictions, Window*) override {
    if (!slow_) return;
    int32_t reach = predictions.front().position + 1;
    for (const Candidate& prediction : predictions) {
      if (prediction.confidence >= config_.sure) reach = prediction.position + 1;
    }
    previous_ = reach_;
    reach_ = reach - begin_;
    ++slow_steps_;
    // Two values differ by less than 2 where their standard deviation is below 1.
    const bool stable = slow_steps_ > 1 && std::abs(reach_ - previous_) < 2;
    if (slow_steps_ < config_.slow_steps && !(config_.early && stable)) return;
    const int32_t mean = slow_steps_ > 1 ? (reach_ + previous_) / 2 : reach_;
    end_ = begin_ + std::max(1, stable ? reach_ : mean);
    slow_ = false;
    fast_steps_ = 0;
  }

 private:
  void BeginCycle(int32_t begin, int32_t end) {
    begin_ = begin;
    end_ = end;
    slow_ = true;
    slow_steps_ = reach_ = previous_ = 0;
  }

  SlowFastConfig config_;
  int32_t origin_ = -1;          // where block 0 begins
  int32_t begin_ = 0, end_ = 0;  // of the span now decoded
  bool slow_ = true;
  int32_t slow_steps_ = 0, fast_steps_ = 0;
  int32_t reach_ = 0, previous_ = 0;  // last estimates of the span's length
};

}  // namespace

const CanvasPolicyEntry& SlowFast() {
  static const CanvasPolicyEntry entry = {
      .name = "slowfast",
      .source = "SlowFast, arXiv 2506.10848",
      .help = "a few steps over the block, then only as far as the model was sure",
      .options = {IntOption("block", kDefaultBlock, 1, 1 << 20, "positions per block"),
                  IntOption("slow", 6, 1, 1 << 20, "steps of the slow phase"),
                  FloatOption("sure", 0.3, 0, 1, "least confidence that counts as sure"),
                  BoolOption("early", false,
                             "end the slow phase as soon as two estimates agree (the paper's idea; "
                             "its code runs every step)"),
                  BoolOption("truncate", true, "compute nothing behind the fast phase's span")},
      .make = [](const Options& options,
                 const ModelTraits& traits) -> Result<std::unique_ptr<CanvasPolicy>> {
        if (traits.attention == ops::AttentionKind::kBlockCausal) {
          return InvalidArgument(
              "canvas=slowfast needs bidirectional attention: a block-causal block sees nothing "
              "behind it that could be left out; use canvas=blocks or multiblock");
        }
        return std::unique_ptr<CanvasPolicy>(std::make_unique<SlowFastPolicy>(
            SlowFastConfig{.block = static_cast<int32_t>(options.Int("block")),
                           .slow_steps = static_cast<int32_t>(options.Int("slow")),
                           .sure = options.Float("sure"),
                           .early = options.Bool("early"),
                           .truncate = options.Bool("truncate")}));
      }};
  return entry;
}

}  // namespace tessera::decode::canvas
