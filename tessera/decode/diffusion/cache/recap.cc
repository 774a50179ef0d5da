// ReCAP (arXiv 2505.19089): a full forward also chooses the positions that the next steps may
// decide, the most confident ones, and those steps recompute only that group against K/V that stay
// as they were. Published for masked image models with a fixed schedule; for text the group is
// taken among the undecided positions of the window, the commit rule decides within it, and `floor`
// returns to a full forward when the group's confidence falls. local = 0 equals no cache.
#include <algorithm>

#include "tessera/decode/diffusion/cache/registry.h"

namespace tessera::decode::cache {
namespace {

struct RecapConfig {
  int32_t local = 1;
  int32_t group = 8;
  int32_t pre_full = 0;
  double floor = 0;
};

class RecapPolicy : public CachePolicy {
 public:
  explicit RecapPolicy(const RecapConfig& config) : config_(config) {}

  CachePlan Plan(const CacheContext& context) override {
    const SequenceView& view = context.view;
    CachePlan plan{.kind = ForwardKind::kWindow,
                   .rows = group_,
                   .keys = {0, view.canvas()},
                   .predict = Predict::kListed};
    for (const int32_t position : group_.positions()) {
      if (position < view.canvas() && !view.is_committed(position)) plan.listed.Add(position);
    }
    const bool full = context.new_window || context.refresh || steps_ < config_.pre_full ||
                      left_ == 0 || sunk_ || plan.listed.empty();
    ++steps_;
    full_ = full;
    if (full) return FullPlan(view);
    --left_;
    plan.rows = group_.Intersect(RowSet(0, view.canvas()));
    return plan;
  }

  void Ran(const CacheFeedback& feedback) override {
    float best = 0;
    for (const Candidate& candidate : feedback.candidates) {
      best = std::max(best, candidate.confidence);
    }
    sunk_ = !full_ && best < config_.floor;
    if (!full_) return;
    left_ = config_.local;
    group_ = RowSet();
    for (const Placement& commit : feedback.commits) group_.Add(commit.position);
    int32_t more = config_.group;
    for (const int32_t index : ByFallingConfidence(feedback.candidates)) {
      const int32_t position = feedback.candidates[static_cast<size_t>(index)].position;
      if (group_.Contains(position)) continue;
      if (more-- == 0) break;
      group_.Add(position);
    }
  }

 private:
  RecapConfig config_;
  RowSet group_;  // rows of local steps, those just decided included
  int32_t steps_ = 0;
  int32_t left_ = 0;   // local steps until the next full one
  bool full_ = false;  // the last plan
  bool sunk_ = false;  // the group's confidence fell below the floor
};

}  // namespace

const CachePolicyEntry& Recap() {
  static const CachePolicyEntry entry = {
      .name = "recap",
      .source = "ReCAP, arXiv 2505.19089",
      .help = "full forwards in turn with steps that recompute only the positions due next",
      .approximate = true,
      .options = {IntOption("local", 1, 0, 1 << 20, "such steps after each full forward"),
                  IntOption("group", 8, 1, 1 << 20,
                            "undecided positions they may decide, the most confident ones"),
                  IntOption("pre_full", 0, 0, 1 << 20, "full forwards when decoding begins"),
                  FloatOption("floor", 0, 0, 1,
                              "full forward when no prediction of a step reaches this confidence")},
      .make = [](const Options& options,
                 const ModelTraits& traits) -> Result<std::unique_ptr<CachePolicy>> {
        TESSERA_RETURN_IF_ERROR(RequireBidirectional("recap", traits));
        return std::unique_ptr<CachePolicy>(std::make_unique<RecapPolicy>(
            RecapConfig{.local = static_cast<int32_t>(options.Int("local")),
                        .group = static_cast<int32_t>(options.Int("group")),
                        .pre_full = static_cast<int32_t>(options.Int("pre_full")),
                        .floor = options.Float("floor")}));
      }};
  return entry;
}

}  // namespace tessera::decode::cache
