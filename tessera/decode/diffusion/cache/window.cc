// Prefix and dual cache (Fast-dLLM, arXiv 2505.22618, section 3.2): a full forward when a window
// begins, then only the window's rows (dual) or the window and everything after it (prefix) against
// K/V that stay as they were. With refresh = 1 both equal no cache. The published port to Dream
// commits the first token of a block blindly at its full forward (first=greedy); here the window
// takes the row before it along instead, which is exact.
#include "tessera/decode/diffusion/cache/registry.h"

namespace tessera::decode::cache {
namespace {

enum class Reach { kWindow, kSuffix };

class WindowPolicy : public CachePolicy {
 public:
  WindowPolicy(Reach reach, int32_t refresh, bool greedy_first)
      : reach_(reach), refresh_(refresh), greedy_first_(greedy_first) {}

  CachePlan Plan(const CacheContext& context) override {
    const Window& window = context.window;
    const int32_t end = context.view.canvas();
    const bool full =
        context.new_window || context.refresh || (refresh_ > 0 && since_full_ + 1 >= refresh_);
    since_full_ = full ? 0 : since_full_ + 1;
    if (full) {
      CachePlan plan = FullPlan(context.view);
      if (context.new_window && greedy_first_) plan.predict = Predict::kFirstToken;
      return plan;
    }
    return {.kind = ForwardKind::kWindow,
            .rows = {window.begin, reach_ == Reach::kWindow ? window.end : end},
            .keys = {0, end}};
  }
  void Ran(const CacheFeedback&) override {}

 private:
  Reach reach_;
  int32_t refresh_;
  bool greedy_first_;
  int32_t since_full_ = 0;
};

Result<std::unique_ptr<CachePolicy>> Make(Reach reach, const char* name, const Options& options,
                                          const ModelTraits& traits) {
  TESSERA_RETURN_IF_ERROR(RequireBidirectional(name, traits));
  const bool greedy_first = options.String("first") == "greedy";
  if (greedy_first && !traits.shifted_logits) {
    return InvalidArgument(
        "option first: greedy is for models with shifted logits, which this one is not; accepted: "
        "rule");
  }
  return std::unique_ptr<CachePolicy>(std::make_unique<WindowPolicy>(
      reach, static_cast<int32_t>(options.Int("refresh")), greedy_first));
}

std::vector<OptionSpec> WindowOptions() {
  return {IntOption("refresh", 0, 0, 1 << 20,
                    "full forward every so many steps; 0: only when a block begins"),
          ChoiceOption("first", "rule", {"rule", "greedy"},
                       "first token of a block: like any other, or committed blindly at the full "
                       "forward as Fast-dLLM's port to Dream does")};
}

}  // namespace

const CachePolicyEntry& Prefix() {
  static const CachePolicyEntry entry = {
      .name = "prefix",
      .source = "Fast-dLLM, arXiv 2505.22618",
      .help = "keep K/V before the block; recompute the block and what follows",
      .approximate = true,
      .options = WindowOptions(),
      .make = [](const Options& options, const ModelTraits& traits) {
        return Make(Reach::kSuffix, "prefix", options, traits);
      }};
  return entry;
}

const CachePolicyEntry& Dual() {
  static const CachePolicyEntry entry = {
      .name = "dual",
      .source = "Fast-dLLM, arXiv 2505.22618",
      .help = "keep K/V before and after the block; recompute only the block",
      .approximate = true,
      .options = WindowOptions(),
      .make = [](const Options& options, const ModelTraits& traits) {
        return Make(Reach::kWindow, "dual", options, traits);
      }};
  return entry;
}

}  // namespace tessera::decode::cache
