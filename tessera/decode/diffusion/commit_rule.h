// Commit rule: which predictions become final this step, and which earlier ones are changed. One of
// the three slots of a diffusion decoder. A rule is one .cc file below commit/, one line in
// commit/registry.inc and one test. Most rules only write Select.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/decode/artefact.h"
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

// A position that holds a token already, for rules that ask for them.
struct Decided {
  int32_t position = 0;
  TokenId token = 0;
  float placed = 0;    // probability at the step that placed it
  bool given = false;  // by the prompt
  bool fixed = false;  // given, or revised as often as is allowed: never changes
  const RowStats* stats =
      nullptr;            // of this step; null when its row was not evaluated or asked for
  float probability = 0;  // of `token` in this step's plain softmax; with stats only
  float shadow = 1;       // the same without seeing the token itself; 1: not asked for
};

struct CommitContext {
  std::span<const Candidate> candidates;  // ascending positions, never empty in Select
  int32_t window_step = 0;                // steps done in this window before this one
  int32_t window_begin = 0;               // first position of the window
  int32_t window_undecided = 0;           // undecided positions when the window began
  int32_t window_left = 0;                // those now; candidates may be fewer
  int32_t window_length = 0;              // all positions of the window
  int32_t num_windows = 1;                // windows in the canvas
  int32_t canvas_undecided = 0;           // undecided positions of the whole canvas
  RngKey key;                             // of this step, for rules that draw
  std::span<const Decided> decided = {};  // ascending positions; see RuleNeeds
};

// What a rule wants beyond the candidates.
struct RuleNeeds {
  // Where Revise may change tokens: nowhere, in the window, or anywhere before the window's end.
  // Text there streams only when that is done. What kCanvas takes back before the window widens it.
  enum class Reach { kNone, kWindow, kCanvas };
  Reach revises = Reach::kNone;
  // CommitContext::decided, of the window; for kCanvas of all it reaches but what was given.
  bool decided = false;
  bool decided_rows = false;  // with this step's statistics, where rows are evaluated
  // With Decided::shadow, from a second copy of the window's rows that holds only masks: each sees
  // everything but the position it stands for (WINO, arXiv 2507.18578).
  bool shadow_rows = false;
  int32_t top_n = 0;  // length of RowStats::top
  // After every full forward up to so many passes of the model's joint layer over the same window;
  // each asks the rule again. Needs a cache that recomputes every row.
  int32_t joint_passes = 0;
};

// Changes to decided tokens that are not fixed.
struct Revision {
  struct Edit {
    int32_t index = 0;  // into CommitContext::decided
    TokenId token = 0;
    float probability = 0;
  };
  std::vector<Edit> edits;
  std::vector<int32_t> remasks;  // indices into CommitContext::decided
  // Look at this window once more although nothing in it is undecided; its rows are evaluated. Goes
  // unheard where this step changed nothing.
  bool hold = false;
};

// The canvas before the first step.
struct CanvasShape {
  int32_t undecided = 0;
  int32_t first_undecided = 0;
  int32_t num_windows = 1;
};

class CommitRule {
 public:
  virtual ~CommitRule() = default;
  // Refuses a canvas that the rule's options do not fit; called once, before the first step.
  virtual Status Begin(const CanvasShape& shape) {
    (void)shape;
    return OkStatus();
  }
  virtual RuleNeeds needs() const { return {}; }
  // Appends the ids whose probability at this undecided position the rule wants. Called for each
  // candidate before its forward, in ascending order.
  virtual void Probe(int32_t position, std::vector<TokenId>* ids) { (void)position, (void)ids; }
  // May replace token, confidence and probability of candidates before Select sees them.
  virtual void Adjust(const CommitContext& context, std::span<Candidate> candidates) {
    (void)context, (void)candidates;
  }
  // Appends the indices (into candidates) to commit, in any order, each once. A rule commits or
  // revises something in every step, or decoding stops with an error.
  virtual void Select(const CommitContext& context, std::vector<int32_t>* chosen) = 0;
  // Called after Select, and alone while the window is held: changes decided tokens, and may drop
  // indices from `chosen`. Only for rules whose needs() say that they revise.
  virtual void Revise(const CommitContext& context, std::vector<int32_t>* chosen,
                      Revision* revision) {
    (void)context, (void)chosen, (void)revision;
  }
};

// What a rule may be built from besides its options.
struct RuleSetup {
  const ModelTraits& traits;
  const ArtefactLoader& load;
};

struct CommitRuleEntry {
  std::string name;
  std::string source;
  std::string help;
  std::string main_option;  // set by "name=value" in a strategy text; empty: takes no value
  std::vector<OptionSpec> options;
  std::unique_ptr<CommitRule> (*make)(const Options& options) = nullptr;
  // Instead of `make`, for rules that can refuse a model or read a file.
  Result<std::unique_ptr<CommitRule>> (*make_checked)(const Options& options,
                                                      const RuleSetup& setup) = nullptr;
};

Result<std::unique_ptr<CommitRule>> MakeCommitRule(const CommitRuleEntry& entry,
                                                   const Options& options, const RuleSetup& setup);

// Index of the candidate with the highest confidence; the lower position wins ties.
int32_t MostConfident(std::span<const Candidate> candidates);

// Indices of all candidates by falling score; the lower position wins ties.
std::vector<int32_t> ByFallingScore(std::span<const float> scores);
std::vector<int32_t> ByFallingConfidence(std::span<const Candidate> candidates);

// Linear schedule: how many of `total` items step `step` of `steps` takes; the first
// total % steps steps take one more (LLaDA, arXiv 2502.09992).
int32_t LinearQuota(int32_t total, int32_t steps, int32_t step);
// Refuses steps over the whole canvas that do not spread evenly over its windows; 0 is none.
Status CheckSteps(int32_t steps, int32_t num_windows);

}  // namespace tessera::decode
