// Dream's four orders (arXiv 2508.15487): a time schedule t from 1 to eps decides how many
// predictions step k commits, and one of four scores decides which. Steps that would commit
// nothing are skipped without a forward; the text is the same.
#include <algorithm>
#include <cmath>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

enum class Order { kOrigin, kMaskgitPlus, kTopkMargin, kEntropy };

class DreamRule : public CommitRule {
 public:
  DreamRule(Order order, int32_t steps, double eps, double alg_temp)
      : order_(order), steps_(steps), eps_(eps), alg_temp_(alg_temp) {}

  Status Begin(const CanvasShape& shape) override {
    if (steps_ == 0) steps_ = std::max(shape.undecided, 1);
    return OkStatus();
  }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    while (chosen->empty()) {
      const int32_t step = next_step_++;
      const double ratio = step + 1 < steps_ ? 1 - Time(step + 1) / Time(step) : 1;
      if (order_ == Order::kOrigin) {
        DrawEach(context, step, ratio, chosen);
      } else {
        const int32_t count = ratio == 1 ? static_cast<int32_t>(context.candidates.size())
                                         : static_cast<int32_t>(context.canvas_undecided * ratio);
        TakeBest(context, step, count, chosen);
      }
    }
  }

 private:
  // Node k of steps + 1 evenly spaced times from 1 to eps.
  double Time(int32_t k) const { return 1 + (eps_ - 1) * k / steps_; }

  static void DrawEach(const CommitContext& context, int32_t step, double ratio,
                       std::vector<int32_t>* chosen) {
    RngKey key = context.key;
    key.step = step;
    for (size_t i = 0; i < context.candidates.size(); ++i) {
      key.position = context.candidates[i].position;
      if (Uniform(key, RngPurpose::kCommit, 0) < ratio) chosen->push_back(static_cast<int32_t>(i));
    }
  }

  void TakeBest(const CommitContext& context, int32_t step, int32_t count,
                std::vector<int32_t>* chosen) const {
    std::vector<float> scores;
    for (const Candidate& candidate : context.candidates) {
      double score = Score(candidate);
      if (alg_temp_ > 0) {
        // Gumbel top-k draws without replacement from softmax(score / alg_temp).
        RngKey key = context.key;
        key.step = step;
        key.position = candidate.position;
        score = score / alg_temp_ + GumbelFromWord(RandomWords(key, RngPurpose::kCommit, 0)[0]);
      }
      scores.push_back(static_cast<float>(score));
    }
    std::vector<int32_t> order = ByFallingScore(scores);
    order.resize(std::min(order.size(), static_cast<size_t>(count)));
    chosen->insert(chosen->end(), order.begin(), order.end());
  }

  double Score(const Candidate& candidate) const {
    switch (order_) {
      case Order::kTopkMargin: return candidate.stats->p1 - candidate.stats->p2;
      case Order::kEntropy: return -candidate.stats->entropy;
      default: return candidate.confidence;
    }
  }

  Order order_;
  int32_t steps_;
  double eps_, alg_temp_;
  int32_t next_step_ = 0;
};

}  // namespace

const CommitRuleEntry& Dream() {
  static const CommitRuleEntry entry = {
      .name = "dream",
      .source = "Dream, arXiv 2508.15487",
      .help = "Dream's time schedule with one of its four orders; use with canvas=whole",
      .main_option = "order",
      .options = {ChoiceOption("order", "entropy",
                               {"origin", "maskgit_plus", "topk_margin", "entropy"},
                               "random, or by probability, by p1 - p2, by negative entropy"),
                  IntOption("steps", 0, 0, 1 << 20, "steps of the schedule; 0: one per new token"),
                  FloatOption("eps", 1e-3, 0, 1, "time of the last node"),
                  FloatOption("alg_temp", 0, 0, 1e3, "temperature of the order; 0: best first")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        const std::string& order = options.String("order");
        return std::make_unique<DreamRule>(order == "origin"         ? Order::kOrigin
                                           : order == "maskgit_plus" ? Order::kMaskgitPlus
                                           : order == "topk_margin"  ? Order::kTopkMargin
                                                                     : Order::kEntropy,
                                           static_cast<int32_t>(options.Int("steps")),
                                           options.Float("eps"), options.Float("alg_temp"));
      }};
  return entry;
}

}  // namespace tessera::decode::commit
