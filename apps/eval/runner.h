// Runs cases with one model and one strategy and adds up what they cost and how many came out
// right.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "apps/eval/case.h"
#include "apps/eval/graders.h"
#include "apps/eval/stats.h"
#include "tessera/api/model.h"

namespace tessera::eval {

// What a set of cases cost and gained. Sets of different tasks can be added.
struct Measurement {
  int64_t cases = 0, graded = 0;
  double score = 0, score_squares = 0, strict = 0;  // sums over graded cases
  bool partial_scores = false;                      // scores lie between wrong and right too
  int64_t tokens = 0;                          // output, to the first end-of-text; filled holes
  int64_t full = 0, window = 0, finalise = 0;  // forwards of each case, added up
  int64_t rows = 0, drafted = 0, accepted = 0;
  int64_t reused = 0;          // rows that forwards saw and did not evaluate
  int64_t probes = 0;          // evaluated rows that only measure drift
  int64_t revisions = 0;       // decided tokens replaced or taken back
  int64_t drift_forwards = 0;  // that measured drift, and the sum of what they measured
  double drift_sum = 0;
  double seconds = 0;  // of the clock, from the first forward to the last

  // Likelihoods: nats of the answers' tokens, and the sums an interval needs.
  int64_t nll_tokens = 0;
  double nll = 0, nll_squares = 0, nll_by_tokens = 0, tokens_squares = 0;

  int64_t forwards() const { return full + window + finalise; }
  double accuracy() const { return graded == 0 ? 0 : score / static_cast<double>(graded); }
  double strict_accuracy() const { return graded == 0 ? 0 : strict / static_cast<double>(graded); }
  Interval accuracy_interval() const;
  double tokens_per_forward() const;
  double forwards_per_case() const;  // NFE
  double tokens_per_second() const;
  double rows_per_token() const;  // evaluated rows, probes aside
  double drift() const;           // mean over the forwards that measured it, 0 to 1
  double nats_per_token() const;
  Interval nats_interval() const;  // 95 %, of a ratio of means over cases

  void Add(const Measurement& other);
};

struct Outcome {
  const Case* c = nullptr;
  const api::GenerateResult* result = nullptr;
  std::string output;
  Verdict verdict;
};

struct RunOptions {
  std::string strategy;                            // "" = the model's own
  int32_t max_tokens = 64;                         // more when an answer is longer
  int32_t batch = 32;                              // cases decoded at once; does not change outputs
  api::SamplingOptions sampling;                   // every case draws from a stream of its own
  std::function<bool()> keep_going;                // asked after every step; false cancels
  std::function<void(const Outcome&)> on_outcome;  // in the order of the cases
  // Called with each request before it runs, to follow its steps.
  std::function<void(size_t index, api::GenerateRequest*)> on_request;
};

// Every case in one pool: as one ends, the next joins (continuous batching).
Result<Measurement> RunCases(api::Model& model, std::span<const Case> cases,
                             const RunOptions& options);

}  // namespace tessera::eval
