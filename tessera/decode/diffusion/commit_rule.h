// Commit rule: which predictions become final this step. One of the three slots of a diffusion
// decoder. A rule is one .cc file below commit/, one line in commit/registry.inc and one test.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/decode/options.h"
#include "tessera/decode/strategy.h"

namespace tessera::decode {

// An undecided position of the window and what the model predicts there.
struct Candidate {
  int32_t position = 0;
  TokenId token = 0;      // would be committed
  float confidence = 0;   // its probability; lowered for end-of-text when that is asked for
  float probability = 0;  // reported with the commit; not lowered
  const RowStats* stats = nullptr;
  std::span<const float> probed = {};  // plain probabilities of the ids that Probe asked for
};

struct CommitContext {
  std::span<const Candidate> candidates;  // ascending positions, never empty
  int32_t window_step = 0;                // steps done in this window before this one
  int32_t window_undecided = 0;           // undecided positions when the window began
  int32_t window_length = 0;              // all positions of the window
  int32_t num_windows = 1;                // windows in the canvas
  int32_t canvas_undecided = 0;           // undecided positions of the whole canvas
  RngKey key;                             // of this step, for rules that draw
};

class CommitRule {
 public:
  virtual ~CommitRule() = default;
  // Refuses a canvas that the rule's options do not fit; called once, before the first step.
  virtual Status Begin(int32_t undecided, int32_t num_windows) {
    (void)undecided, (void)num_windows;
    return OkStatus();
  }
  // Length of RowStats::top that the rule reads.
  virtual int32_t top_n() const { return 0; }
  // Appends the ids whose probability at this undecided position the rule wants. Called for each
  // candidate before its forward, in ascending order.
  virtual void Probe(int32_t position, std::vector<TokenId>* ids) { (void)position, (void)ids; }
  // May replace token, confidence and probability of candidates before Select sees them.
  virtual void Adjust(const CommitContext& context, std::span<Candidate> candidates) {
    (void)context, (void)candidates;
  }
  // Appends the indices (into candidates) to commit, in any order, each once. A rule commits at
  // least one candidate per call, or decoding stops with an error.
  virtual void Select(const CommitContext& context, std::vector<int32_t>* chosen) = 0;
};

struct CommitRuleEntry {
  std::string name;
  std::string source;
  std::string help;
  std::string main_option;  // set by "name=value" in a strategy text; empty: takes no value
  std::vector<OptionSpec> options;
  std::unique_ptr<CommitRule> (*make)(const Options& options);
};

// Index of the candidate with the highest confidence; the lower position wins ties.
int32_t MostConfident(std::span<const Candidate> candidates);

// Indices of all candidates by falling score; the lower position wins ties.
std::vector<int32_t> ByFallingScore(std::span<const float> scores);
std::vector<int32_t> ByFallingConfidence(std::span<const Candidate> candidates);

// Linear schedule: how many of `total` items step `step` of `steps` takes; the first
// total % steps steps take one more (LLaDA, arXiv 2502.09992).
int32_t LinearQuota(int32_t total, int32_t steps, int32_t step);

}  // namespace tessera::decode
