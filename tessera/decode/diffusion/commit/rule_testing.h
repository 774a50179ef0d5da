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
                         const std::vector<std::pair<std::string, std::string>>& set = {},
                         const ArtefactLoader& load = {}, const ModelTraits& traits = {}) {
    Options options(entry.options);
    for (const auto& [name, value] : set) {
      const Status status = options.Set(entry.options, name, value);
      EXPECT_TRUE(status.ok()) << status.message();
    }
    Result<std::unique_ptr<CommitRule>> rule =
        MakeCommitRule(entry, options, {.traits = traits, .load = load});
    EXPECT_TRUE(rule.ok()) << rule.status().message();
    if (rule.ok()) rule_ = std::move(*rule);
  }

  // One step over predictions of these statistics; ascending indices of what is committed.
  std::vector<int32_t> SelectFrom(std::vector<RowStats> stats, int32_t window_length = 0,
                                  std::span<const Decided> decided = {}) {
    std::vector<int32_t> positions(stats.size());
    std::iota(positions.begin(), positions.end(), 0);
    return Step(positions, stats, window_length, decided);
  }

  // The same from confidences alone.
  std::vector<int32_t> Select(const std::vector<float>& confidences, int32_t window_length = 0,
                              std::span<const Decided> decided = {}) {
    return SelectFrom(StatsOf(confidences), window_length, decided);
  }

  // The same with positions of their own, ascending.
  std::vector<int32_t> SelectAt(const std::vector<int32_t>& positions,
                                const std::vector<float>& confidences, int32_t window_length = 0,
                                std::span<const Decided> decided = {}) {
    return Step(positions, StatsOf(confidences), window_length, decided);
  }

  std::vector<int32_t> SelectWith(const std::vector<int32_t>& positions,
                                  const std::vector<RowStats>& stats, int32_t window_length,
                                  std::span<const Decided> decided = {}) {
    return Step(positions, stats, window_length, decided);
  }

  // One look at a window in which nothing is undecided.
  Revision Look(std::span<const Decided> decided) {
    Revision revision;
    std::vector<int32_t> chosen;
    rule_->Revise(
        {.candidates = {}, .window_step = step_++, .key = {.seed = 1}, .decided = decided}, &chosen,
        &revision);
    return revision;
  }

  // As left by the last step, after Adjust.
  const std::vector<Candidate>& candidates() const { return candidates_; }
  const Revision& revision() const { return revision_; }
  CommitRule& rule() { return *rule_; }

 private:
  static std::vector<RowStats> StatsOf(const std::vector<float>& confidences) {
    std::vector<RowStats> stats(confidences.size());
    for (size_t i = 0; i < stats.size(); ++i) stats[i].p1 = stats[i].p_sampled = confidences[i];
    return stats;
  }

  std::vector<int32_t> Step(const std::vector<int32_t>& positions,
                            const std::vector<RowStats>& stats, int32_t window_length,
                            std::span<const Decided> decided) {
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
    if (step_ == 0) {
      undecided_ = count;
      begin_ = positions.front();
      if (!decided.empty()) begin_ = std::min(begin_, decided.front().position);
    }
    const CommitContext context = {.candidates = candidates_,
                                   .window_step = step_++,
                                   .window_begin = begin_,
                                   .window_undecided = undecided_,
                                   .window_left = count,
                                   .window_length = window_length > 0 ? window_length : undecided_,
                                   .num_windows = 1,
                                   .canvas_undecided = count,
                                   .key = {.seed = 1},
                                   .decided = decided};
    std::vector<int32_t> chosen;
    rule_->Adjust(context, candidates_);
    rule_->Select(context, &chosen);
    revision_ = {};
    rule_->Revise(context, &chosen, &revision_);
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }

  std::unique_ptr<CommitRule> rule_;
  std::vector<Candidate> candidates_;
  Revision revision_;
  int32_t step_ = 0, undecided_ = 0, begin_ = 0;
};

using Indices = std::vector<int32_t>;

}  // namespace tessera::decode
