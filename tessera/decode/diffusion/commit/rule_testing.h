// For tests of commit rules: build one from its strategy text, show it a row of predictions, see
// which positions it commits.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode {

class RuleUnderTest {
 public:
  // `set` lists option=value pairs; options not named keep their defaults.
  explicit RuleUnderTest(const CommitRuleEntry& entry,
                         const std::vector<std::pair<std::string, std::string>>& set = {}) {
    Options options(entry.options);
    for (const auto& [name, value] : set) {
      const Status status = options.Set(entry.options, name, value);
      EXPECT_TRUE(status.ok()) << status.message();
    }
    rule_ = entry.make(options);
  }

  // One step over predictions of these statistics; ascending indices of what is committed.
  std::vector<int32_t> SelectFrom(std::vector<RowStats> stats, int32_t window_length = 0) {
    std::vector<int32_t> positions(stats.size());
    std::iota(positions.begin(), positions.end(), 0);
    return Step(positions, stats, window_length);
  }

  // The same from confidences alone.
  std::vector<int32_t> Select(const std::vector<float>& confidences, int32_t window_length = 0) {
    return SelectFrom(StatsOf(confidences), window_length);
  }

  // The same with positions of their own, ascending.
  std::vector<int32_t> SelectAt(const std::vector<int32_t>& positions,
                                const std::vector<float>& confidences, int32_t window_length = 0) {
    return Step(positions, StatsOf(confidences), window_length);
  }

  std::vector<int32_t> SelectWith(const std::vector<int32_t>& positions,
                                  const std::vector<RowStats>& stats, int32_t window_length) {
    return Step(positions, stats, window_length);
  }

  // As left by the last step, after Adjust.
  const std::vector<Candidate>& candidates() const { return candidates_; }
  CommitRule& rule() { return *rule_; }

 private:
  static std::vector<RowStats> StatsOf(const std::vector<float>& confidences) {
    std::vector<RowStats> stats(confidences.size());
    for (size_t i = 0; i < stats.size(); ++i) stats[i].p1 = stats[i].p_sampled = confidences[i];
    return stats;
  }

  std::vector<int32_t> Step(const std::vector<int32_t>& positions,
                            const std::vector<RowStats>& stats, int32_t window_length) {
    candidates_.clear();
    for (size_t i = 0; i < stats.size(); ++i) {
      candidates_.push_back({.position = positions[i],
                             .token = stats[i].sampled,
                             .confidence = stats[i].p_sampled,
                             .probability = stats[i].p_sampled,
                             .stats = &stats[i],
                             .probed = stats[i].p_probe});
    }
    const int32_t count = static_cast<int32_t>(stats.size());
    if (step_ == 0) undecided_ = count;
    const CommitContext context = {.candidates = candidates_,
                                   .window_step = step_++,
                                   .window_undecided = undecided_,
                                   .window_length = window_length > 0 ? window_length : undecided_,
                                   .num_windows = 1,
                                   .canvas_undecided = count,
                                   .key = {.seed = 1}};
    std::vector<int32_t> chosen;
    rule_->Adjust(context, candidates_);
    rule_->Select(context, &chosen);
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }

  std::unique_ptr<CommitRule> rule_;
  std::vector<Candidate> candidates_;
  int32_t step_ = 0, undecided_ = 0;
};

using Indices = std::vector<int32_t>;

}  // namespace tessera::decode
