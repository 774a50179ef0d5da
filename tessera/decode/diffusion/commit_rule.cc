#include "tessera/decode/diffusion/commit_rule.h"

#include <algorithm>
#include <numeric>

namespace tessera::decode {

Result<std::unique_ptr<CommitRule>> MakeCommitRule(const CommitRuleEntry& entry,
                                                   const Options& options, const RuleSetup& setup) {
  if (entry.make_checked != nullptr) return entry.make_checked(options, setup);
  return entry.make(options);
}

int32_t MostConfident(std::span<const Candidate> candidates) {
  size_t best = 0;
  for (size_t i = 1; i < candidates.size(); ++i) {
    if (candidates[i].confidence > candidates[best].confidence) best = i;
  }
  return static_cast<int32_t>(best);
}

std::vector<int32_t> ByFallingScore(std::span<const float> scores) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  return order;
}

std::vector<int32_t> ByFallingConfidence(std::span<const Candidate> candidates) {
  std::vector<float> scores;
  scores.reserve(candidates.size());
  for (const Candidate& candidate : candidates) scores.push_back(candidate.confidence);
  return ByFallingScore(scores);
}

int32_t LinearQuota(int32_t total, int32_t steps, int32_t step) {
  if (step >= steps) return total;
  return total / steps + (step < total % steps ? 1 : 0);
}

Status CheckSteps(int32_t steps, int32_t num_windows) {
  if (steps == 0 || steps % num_windows == 0) return OkStatus();
  return InvalidArgument(
      "option steps: got {}, accepted: a multiple of the {} blocks of this canvas", steps,
      num_windows);
}

}  // namespace tessera::decode
