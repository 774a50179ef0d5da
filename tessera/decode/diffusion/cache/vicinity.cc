// Vicinity refresh (dInfer, arXiv 2510.08666): like the dual cache, and the neighbours of the
// window are recomputed too, so that the rows which see most of its changes do not grow stale. The
// first steps of a generation are full forwards. A vicinity that covers the canvas equals no cache.
#include <algorithm>

#include "tessera/decode/diffusion/cache/registry.h"

namespace tessera::decode::cache {
namespace {

struct VicinityConfig {
  int32_t before = 16, after = 16;
  int32_t warmup = 4;
  int32_t refresh = 0;
};

class VicinityPolicy : public CachePolicy {
 public:
  explicit VicinityPolicy(const VicinityConfig& config) : config_(config) {}

  CachePlan Plan(const CacheContext& context) override {
    const Window& window = context.window;
    const int32_t end = context.view.canvas();
    const bool full = context.new_window || context.refresh || steps_ < config_.warmup ||
                      (config_.refresh > 0 && since_full_ + 1 >= config_.refresh);
    ++steps_;
    since_full_ = full ? 0 : since_full_ + 1;
    if (full) return FullPlan(context.view);
    return {.kind = ForwardKind::kWindow,
            .rows = {std::max(0, window.begin - config_.before),
                     static_cast<int32_t>(
                         std::min<int64_t>(end, static_cast<int64_t>(window.end) + config_.after))},
            .keys = {0, end}};
  }
  void Ran(const CacheFeedback&) override {}

 private:
  VicinityConfig config_;
  int32_t steps_ = 0, since_full_ = 0;
};

}  // namespace

const CachePolicyEntry& Vicinity() {
  static const CachePolicyEntry entry = {
      .name = "vicinity",
      .source = "dInfer, arXiv 2510.08666",
      .help = "recompute the block and its neighbours; keep the K/V of the rest",
      .approximate = true,
      .options = {IntOption("before", 16, 0, 1 << 20, "neighbours before the block"),
                  IntOption("after", 16, 0, 1 << 20, "neighbours after it"),
                  IntOption("warmup", 4, 0, 1 << 20, "full forwards when decoding begins"),
                  IntOption("refresh", 0, 0, 1 << 20,
                            "full forward every so many steps; 0: only when a block begins")},
      .make = [](const Options& options,
                 const ModelTraits& traits) -> Result<std::unique_ptr<CachePolicy>> {
        TESSERA_RETURN_IF_ERROR(RequireBidirectional("vicinity", traits));
        return std::unique_ptr<CachePolicy>(std::make_unique<VicinityPolicy>(
            VicinityConfig{.before = static_cast<int32_t>(options.Int("before")),
                           .after = static_cast<int32_t>(options.Int("after")),
                           .warmup = static_cast<int32_t>(options.Int("warmup")),
                           .refresh = static_cast<int32_t>(options.Int("refresh"))}));
      }};
  return entry;
}

}  // namespace tessera::decode::cache
