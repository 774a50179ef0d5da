// For tests of commit rules: build one from its strategy text, show it a row of predictions, see
// which positions it commits.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
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
    std::vector<Candidate> candidates;
    for (size_t i = 0; i < stats.size(); ++i) {
      candidates.push_back({.position = static_cast<int32_t>(i),
                            .token = stats[i].sampled,
                            .confidence = stats[i].p_sampled,
                            .stats = &stats[i]});
    }
    const int32_t count = static_cast<int32_t>(stats.size());
    if (step_ == 0) undecided_ = count;
    std::vector<int32_t> chosen;
    rule_->Select({.candidates = candidates,
                   .window_step = step_++,
                   .window_undecided = undecided_,
                   .window_length = window_length > 0 ? window_length : undecided_,
                   .num_windows = 1,
                   .canvas_undecided = count,
                   .key = {.seed = 1}},
                  &chosen);
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }

  // The same from confidences alone.
  std::vector<int32_t> Select(const std::vector<float>& confidences, int32_t window_length = 0) {
    std::vector<RowStats> stats(confidences.size());
    for (size_t i = 0; i < stats.size(); ++i) stats[i].p1 = stats[i].p_sampled = confidences[i];
    return SelectFrom(std::move(stats), window_length);
  }

  CommitRule& rule() { return *rule_; }

 private:
  std::unique_ptr<CommitRule> rule_;
  int32_t step_ = 0, undecided_ = 0;
};

using Indices = std::vector<int32_t>;

}  // namespace tessera::decode
