// dKV-Cache-Greedy (arXiv 2505.15781, section 3.3): O(1) rows per step. Between full forwards only
// three kinds of rows are computed: those decided in the last step (StepLayout adds them), the ones
// scheduled to be decided now, and a few undecided neighbours of those. The schedule is a random
// order drawn beforehand, since the confidence of a row that is not computed is unknown.
//
// Deviation: at the full forwards in between the commit rule chooses among all predictions of the
// window; with quota,remasking=random that is the published random order throughout.
#include <algorithm>

#include "tessera/decode/diffusion/cache/registry.h"

namespace tessera::decode::cache {
namespace {

class DkvGreedyPolicy : public CachePolicy {
 public:
  DkvGreedyPolicy(int32_t refresh, int32_t neighbours, int32_t scheduled)
      : refresh_(refresh), neighbours_(neighbours), scheduled_(scheduled) {}

  CachePlan Plan(const CacheContext& context) override {
    const SequenceView& view = context.view;
    since_full_ = context.new_window || context.refresh ? 0 : since_full_ + 1;
    if (since_full_ % refresh_ == 0) return FullPlan(view);
    CachePlan plan{.kind = ForwardKind::kWindow,
                   .rows = {},
                   .keys = {0, view.canvas()},
                   .predict = Predict::kListed};
    for (const int32_t position : Scheduled(context)) {
      plan.listed.Add(position);
      plan.rows.Add(position);
      AddNeighbours(view, position, &plan.rows);
    }
    return plan;
  }
  void Ran(const CacheFeedback&) override {}

 private:
  // The first undecided positions of the window in the order drawn for it.
  std::vector<int32_t> Scheduled(const CacheContext& context) const {
    std::vector<std::pair<double, int32_t>> order;
    for (int32_t position = context.window.begin; position < context.window.end; ++position) {
      if (context.view.is_committed(position)) continue;
      order.emplace_back(
          Uniform({.seed = context.view.seed, .position = position}, RngPurpose::kCanvas, 1),
          position);
    }
    std::sort(order.begin(), order.end());
    order.resize(std::min(order.size(), static_cast<size_t>(scheduled_)));
    std::vector<int32_t> positions;
    for (const auto& [draw, position] : order) positions.push_back(position);
    return positions;
  }

  // The nearest undecided positions, alternating right and left.
  void AddNeighbours(const SequenceView& view, int32_t center, RowSet* rows) const {
    int32_t left = center, right = center, found = 0;
    while (found < neighbours_ && (left >= 0 || right < view.canvas())) {
      do {
        ++right;
      } while (right < view.canvas() && view.is_committed(right));
      if (right < view.canvas() && found < neighbours_) {
        rows->Add(right);
        ++found;
      }
      do {
        --left;
      } while (left >= 0 && view.is_committed(left));
      if (left >= 0 && found < neighbours_) {
        rows->Add(left);
        ++found;
      }
    }
  }

  int32_t refresh_, neighbours_, scheduled_;
  int32_t since_full_ = 0;
};

}  // namespace

const CachePolicyEntry& DkvGreedy() {
  static const CachePolicyEntry entry = {
      .name = "dkv_greedy",
      .source = "dKV-Cache, arXiv 2505.15781",
      .help = "recompute only a few scheduled rows and their neighbours, in random order",
      .approximate = true,
      .options = {IntOption("refresh", 2, 1, 1 << 20, "full forward every so many steps"),
                  IntOption("neighbours", 4, 0, 1 << 20,
                            "undecided neighbours recomputed with each scheduled position"),
                  IntOption("scheduled", 1, 1, 1 << 20, "positions that a step may decide")},
      .make = [](const Options& options,
                 const ModelTraits& traits) -> Result<std::unique_ptr<CachePolicy>> {
        TESSERA_RETURN_IF_ERROR(RequireBidirectional("dkv_greedy", traits));
        const auto get = [&](const char* name) { return static_cast<int32_t>(options.Int(name)); };
        return std::unique_ptr<CachePolicy>(
            std::make_unique<DkvGreedyPolicy>(get("refresh"), get("neighbours"), get("scheduled")));
      }};
  return entry;
}

}  // namespace tessera::decode::cache
