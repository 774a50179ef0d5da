// KLASS (arXiv 2511.05664): commit a prediction when it is confident and stable, that is when its
// last `history` divergences KL(p_t || p_t-1) are all below `kl`; if nothing qualifies, the static
// quota's best.
//
// The method keeps the whole previous distribution of every position. Here it is the `top` most
// probable tokens of the previous step and the mass of all others: the device returns today's
// probability of exactly those tokens, so the divergence of the two coarser distributions is
// exact. Merging outcomes can only lower a divergence (data processing), so this rule never waits
// where the published one commits; with a vocabulary of at most `top` tokens they are equal. A
// divergence needs two steps, so the first `history` steps of a block never qualify (the published
// code counts its first step against an empty history and starts one earlier).
#include <algorithm>
#include <cmath>
#include <map>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class KlassRule : public CommitRule {
 public:
  struct Settings {
    float confidence, kl;
    int32_t history, top, block_steps;
  };
  explicit KlassRule(const Settings& settings) : settings_(settings) {}

  RuleNeeds needs() const override { return {.top_n = settings_.top}; }

  void Probe(int32_t position, std::vector<TokenId>* ids) override {
    const auto it = tracks_.find(position);
    if (it == tracks_.end()) return;
    for (const auto& [id, probability] : it->second.previous) ids->push_back(id);
  }

  void Adjust(const CommitContext& context, std::span<Candidate> candidates) override {
    if (context.window_step == 0) tracks_.clear();
    for (const Candidate& candidate : candidates) {
      Track& track = tracks_[candidate.position];
      if (!track.previous.empty() && candidate.probed.size() == track.previous.size()) {
        const bool stable = Divergence(candidate.probed, track.previous) < settings_.kl;
        track.stable_steps = stable ? track.stable_steps + 1 : 0;
      }
      track.previous.clear();
      for (const auto& [id, log_probability] : candidate.stats->top) {
        track.previous.emplace_back(id, std::exp(log_probability));
      }
    }
  }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    for (size_t i = 0; i < context.candidates.size(); ++i) {
      const Candidate& candidate = context.candidates[i];
      if (candidate.confidence > settings_.confidence &&
          tracks_[candidate.position].stable_steps >= settings_.history) {
        chosen->push_back(static_cast<int32_t>(i));
      }
    }
    if (!chosen->empty()) return;
    const int32_t steps = settings_.block_steps > 0 ? settings_.block_steps : context.window_length;
    const int32_t quota =
        std::max(1, LinearQuota(context.window_length, steps, context.window_step));
    *chosen = ByFallingConfidence(context.candidates);
    chosen->resize(std::min(chosen->size(), static_cast<size_t>(quota)));
  }

 private:
  struct Track {
    std::vector<std::pair<TokenId, float>> previous;  // tokens and probabilities of the last step
    int32_t stable_steps = 0;                         // divergences below the limit in a row
  };

  // KL(now || before) over the listed tokens and the rest as one outcome.
  static double Divergence(std::span<const float> now,
                           const std::vector<std::pair<TokenId, float>>& before) {
    constexpr double kSmallest = 1e-12;  // below what fp32 probabilities resolve near 1
    double sum = 0, now_rest = 1, before_rest = 1;
    const auto term = [&](double p, double q) {
      return p <= 0 ? 0 : p * std::log(p / std::max(q, kSmallest));
    };
    for (size_t i = 0; i < before.size(); ++i) {
      sum += term(now[i], before[i].second);
      now_rest -= now[i];
      before_rest -= before[i].second;
    }
    return sum + term(now_rest, before_rest);
  }

  Settings settings_;
  std::map<int32_t, Track> tracks_;  // by position
};

}  // namespace

const CommitRuleEntry& Klass() {
  static const CommitRuleEntry entry = {
      .name = "klass",
      .source = "KLASS, arXiv 2511.05664",
      .help = "predictions that are confident and have stopped changing from step to step",
      .main_option = "least",
      .options = {FloatOption("least", 0.9, 0, 2, "confidence that must be exceeded"),
                  FloatOption("kl", 0.01, 0, 1e6, "divergence in nats that a step stays below"),
                  IntOption("history", 2, 0, 1 << 20, "steps in a row that must be stable"),
                  IntOption("top", 64, 1, 64, "tokens whose probability is followed"),
                  IntOption("block_steps", 0, 0, 1 << 20,
                            "steps per block of the quota; 0: one token per step")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        const auto get = [&](const char* name) { return static_cast<int32_t>(options.Int(name)); };
        return std::make_unique<KlassRule>(
            KlassRule::Settings{.confidence = static_cast<float>(options.Float("least")),
                                .kl = static_cast<float>(options.Float("kl")),
                                .history = get("history"),
                                .top = get("top"),
                                .block_steps = get("block_steps")});
      }};
  return entry;
}

}  // namespace tessera::decode::commit
