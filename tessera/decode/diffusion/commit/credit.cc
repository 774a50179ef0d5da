// CreditDecoding (arXiv 2510.06133; defaults of dInfer, arXiv 2510.08666): a token that stays the
// best prediction of its position over steps gains credit, and so passes the threshold earlier.
//
// Each step, for an undecided position with plain probabilities p and best token u:
//   C[v] *= beta (not in the first step of a block);  C[u] += p[u]^gamma;
//   l'[v] = l[v] + alpha ln(1 + C[v]);  commit by threshold on softmax(l').
// Only tokens that were best once have credit, so a few (id, credit) pairs per position replace the
// dense [block, vocabulary] matrix, and with w[v] = p[v] (1 + C[v])^alpha the new softmax needs
// nothing else: c = w[v] / (1 - sum p + sum w) over the kept ids. slots=0 keeps every id, which is
// the dense method. The tuning-free variant has gamma = 1 and alpha = beta = 1 - the share of the
// block that is still undecided. When sampling, a token that is not the model's best stays the
// choice; its confidence moves.
#include <algorithm>
#include <cmath>
#include <map>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class CreditRule : public CommitRule {
 public:
  struct Settings {
    float threshold;
    double alpha, beta, gamma;
    size_t slots;  // 0: no limit
    bool tuning_free;
  };
  explicit CreditRule(const Settings& settings) : settings_(settings) {}

  RuleNeeds needs() const override { return {.top_n = 1}; }

  void Probe(int32_t position, std::vector<TokenId>* ids) override {
    const auto it = credits_.find(position);
    if (it == credits_.end()) return;
    for (const Credit& credit : it->second) ids->push_back(credit.id);
  }

  void Adjust(const CommitContext& context, std::span<Candidate> candidates) override {
    const bool first = context.window_step == 0;
    if (first) credits_.clear();
    double alpha = settings_.alpha, beta = settings_.beta, gamma = settings_.gamma;
    if (settings_.tuning_free) {
      alpha = beta = 1 - static_cast<double>(candidates.size()) / context.window_length;
      gamma = 1;
    }
    for (Candidate& candidate : candidates) {
      if (candidate.stats->top.empty()) continue;
      std::vector<Credit>& credits = credits_[candidate.position];
      const size_t known = std::min(credits.size(), candidate.probed.size());
      for (size_t i = 0; i < known; ++i) credits[i].probability = candidate.probed[i];
      for (Credit& credit : credits) credit.amount *= first ? 1 : beta;
      const auto [best, log_probability] = candidate.stats->top.front();
      Reward(best, std::exp(static_cast<double>(log_probability)), gamma, &credits);
      Fuse(credits, alpha, &candidate);
    }
  }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    const int32_t best = MostConfident(context.candidates);
    for (int32_t i = 0; i < static_cast<int32_t>(context.candidates.size()); ++i) {
      const bool passes =
          context.candidates[static_cast<size_t>(i)].confidence >= settings_.threshold;
      if (passes || i == best) chosen->push_back(i);
    }
  }

 private:
  struct Credit {
    TokenId id;
    double amount;
    double probability;  // in this step
  };

  void Reward(TokenId id, double probability, double gamma, std::vector<Credit>* credits) const {
    auto it = std::find_if(credits->begin(), credits->end(),
                           [&](const Credit& credit) { return credit.id == id; });
    if (it == credits->end()) {
      if (settings_.slots > 0 && credits->size() == settings_.slots) {
        credits->erase(
            std::min_element(credits->begin(), credits->end(),
                             [](const Credit& a, const Credit& b) { return a.amount < b.amount; }));
      }
      it = credits->insert(credits->end(), {.id = id, .amount = 0, .probability = probability});
    }
    it->probability = probability;
    it->amount += std::pow(probability, gamma);
  }

  static void Fuse(const std::vector<Credit>& credits, double alpha, Candidate* candidate) {
    const auto gain = [&](const Credit& credit) { return std::pow(1 + credit.amount, alpha); };
    double total = 1;
    const Credit* best = nullptr;
    const Credit* own = nullptr;
    for (const Credit& credit : credits) {
      const double weight = credit.probability * gain(credit);
      total += weight - credit.probability;
      const double best_weight = best == nullptr ? -1 : best->probability * gain(*best);
      if (weight > best_weight || (weight == best_weight && credit.id < best->id)) best = &credit;
      if (credit.id == candidate->token) own = &credit;
    }
    const bool greedy = candidate->stats->sampled == candidate->stats->argmax;
    const Credit* choice = greedy ? best : own;
    if (choice == nullptr) {
      candidate->confidence = static_cast<float>(candidate->confidence / total);
      return;
    }
    // The candidate's own confidence may have been lowered for end-of-text: keep that.
    double confidence = candidate->confidence;
    if (choice->id != candidate->token) {
      candidate->token = choice->id;
      candidate->probability = static_cast<float>(choice->probability);
      confidence = choice->probability;
    }
    candidate->confidence = static_cast<float>(confidence * gain(*choice) / total);
  }

  Settings settings_;
  std::map<int32_t, std::vector<Credit>> credits_;  // by position
};

}  // namespace

const CommitRuleEntry& Credit() {
  static const CommitRuleEntry entry = {
      .name = "credit",
      .source = "CreditDecoding, arXiv 2510.06133; dInfer, arXiv 2510.08666",
      .help = "a threshold on predictions that gain weight while they stay the same",
      .main_option = "threshold",
      .options = {FloatOption("threshold", 0.9, 0, 2, "least confidence after the credit"),
                  FloatOption("alpha", 0.7, 0, 100, "weight of ln(1 + credit); 0: threshold"),
                  FloatOption("beta", 0.8, 0, 1, "what is left of a credit after a step"),
                  FloatOption("gamma", 0.2, 0, 100, "power of the probability that is credited"),
                  IntOption("slots", 8, 0, 64, "tokens remembered per position; 0: all"),
                  BoolOption("tuning_free", false,
                             "gamma 1, alpha and beta 1 - the undecided share of the block")},
      .make = [](const Options& options) -> std::unique_ptr<CommitRule> {
        return std::make_unique<CreditRule>(
            CreditRule::Settings{.threshold = static_cast<float>(options.Float("threshold")),
                                 .alpha = options.Float("alpha"),
                                 .beta = options.Float("beta"),
                                 .gamma = options.Float("gamma"),
                                 .slots = static_cast<size_t>(options.Int("slots")),
                                 .tuning_free = options.Bool("tuning_free")});
      }};
  return entry;
}

}  // namespace tessera::decode::commit
