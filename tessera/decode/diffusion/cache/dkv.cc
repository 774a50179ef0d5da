// dKV-Cache (arXiv 2505.15781): K/V of a token are unreliable in the step that decides it and
// settle afterwards, so they are stored a step later. Every step recomputes what is undecided and
// what was decided in the last step; older decisions are reused.
//
// decode:  decided rows are reused; a full forward every `refresh` steps and when a block begins.
// prefill: given rows are computed once and never again; everything else in every step.
// pd:      given rows as in prefill, decided rows as in decode.
// `delay` above 1 keeps decided rows fresh for longer (d3LLM stores a block some steps late).
#include <algorithm>

#include "tessera/decode/diffusion/cache/registry.h"

namespace tessera::decode::cache {
namespace {

enum class Variant { kDecode, kPrefill, kPd };
// When a row is settled, for shifted logits: its own token is known, the one it predicts, or both.
enum class Settled { kOwn, kRight, kBoth };

struct DkvConfig {
  Variant variant = Variant::kDecode;
  Settled settled = Settled::kOwn;
  int32_t refresh = 8;
  int32_t delay = 1;
};

class DkvPolicy : public CachePolicy {
 public:
  explicit DkvPolicy(const DkvConfig& config) : config_(config) {}

  CachePlan Plan(const CacheContext& context) override {
    const SequenceView& view = context.view;
    if (decided_at_.empty()) Begin(view);
    since_full_ = context.new_window ? 0 : since_full_ + 1;
    if (context.refresh || view.step == 0) {
      since_full_ = 0;
      return FullPlan(view);
    }
    const bool all = config_.variant != Variant::kPrefill && since_full_ % config_.refresh == 0;
    const bool keep_given = config_.variant != Variant::kDecode;
    if (all && !keep_given) return FullPlan(view);
    CachePlan plan{.kind = ForwardKind::kWindow, .rows = {}, .keys = {0, view.canvas()}};
    for (int32_t position = 0; position < view.canvas(); ++position) {
      const bool reused =
          decided_at_[static_cast<size_t>(position)] == kGiven
              ? keep_given || IsSettled(view, position)
              : !all && config_.variant != Variant::kPrefill && IsSettled(view, position);
      if (!reused) plan.rows.Add(position);
    }
    return plan;
  }

  void Ran(const CacheFeedback& feedback) override {
    for (const Placement& commit : feedback.commits) {
      decided_at_[static_cast<size_t>(commit.position)] = feedback.view.step;
    }
    for (const int32_t position : feedback.changed) {
      decided_at_[static_cast<size_t>(position)] = feedback.view.step;
    }
  }

 private:
  static constexpr int32_t kGiven = -1, kUndecided = -2;

  void Begin(const SequenceView& view) {
    for (int32_t position = 0; position < view.canvas(); ++position) {
      decided_at_.push_back(view.is_committed(position) ? kGiven : kUndecided);
    }
  }

  // Decided so long ago that `delay` steps have computed it with its token.
  bool IsKnown(const SequenceView& view, int32_t position) const {
    if (!view.is_committed(position)) return false;
    const int32_t at = decided_at_[static_cast<size_t>(position)];
    return at < 0 || view.step - at > config_.delay;
  }

  bool IsSettled(const SequenceView& view, int32_t position) const {
    const bool own = IsKnown(view, position);
    if (config_.settled == Settled::kOwn) return own;
    const bool right = position + 1 >= view.canvas() || IsKnown(view, position + 1);
    return config_.settled == Settled::kRight ? right : own && right;
  }

  DkvConfig config_;
  std::vector<int32_t> decided_at_;  // [canvas] step, or kGiven or kUndecided
  int32_t since_full_ = 0;           // steps since the window began
};

}  // namespace

const CachePolicyEntry& Dkv() {
  static const CachePolicyEntry entry = {
      .name = "dkv",
      .source = "dKV-Cache, arXiv 2505.15781",
      .help = "reuse K/V of decided tokens, stored one step after they were decided",
      .approximate = true,
      .options = {ChoiceOption("variant", "decode", {"decode", "prefill", "pd"},
                               "reuse decided rows, given rows for ever, or both"),
                  IntOption("refresh", 8, 1, 1 << 20,
                            "full forward every so many steps of a block (pd: given rows stay)"),
                  IntOption("delay", 1, 1, 1 << 20,
                            "steps for which a decided row is still recomputed"),
                  ChoiceOption(
                      "settled", "own", {"own", "right", "both"},
                      "a row is reused once its own token is known, the next one, or both; "
                      "for models with shifted logits")},
      .make = [](const Options& options,
                 const ModelTraits& traits) -> Result<std::unique_ptr<CachePolicy>> {
        TESSERA_RETURN_IF_ERROR(RequireBidirectional("dkv", traits));
        const std::string& variant = options.String("variant");
        const std::string& settled = options.String("settled");
        if (settled != "own" && !traits.shifted_logits) {
          return InvalidArgument(
              "option settled: {} is for models with shifted logits, which this one is not; "
              "accepted: own",
              settled);
        }
        return std::unique_ptr<CachePolicy>(std::make_unique<DkvPolicy>(
            DkvConfig{.variant = variant == "decode"    ? Variant::kDecode
                                 : variant == "prefill" ? Variant::kPrefill
                                                        : Variant::kPd,
                      .settled = settled == "own"     ? Settled::kOwn
                                 : settled == "right" ? Settled::kRight
                                                      : Settled::kBoth,
                      .refresh = static_cast<int32_t>(options.Int("refresh")),
                      .delay = static_cast<int32_t>(options.Int("delay"))}));
      }};
  return entry;
}

}  // namespace tessera::decode::cache
