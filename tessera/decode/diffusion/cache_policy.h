// Cache policy: which rows are recomputed and which K/V are reused. One of the three slots of a
// diffusion decoder.
//
// A policy names sets of canvas positions; StepLayout turns them into rows. Three things hold for
// every policy without its doing: rows that are hidden are dropped from both sets, a visible row
// that was never computed or whose token has changed since is recomputed, and so is the row that
// predicts a wanted position. Only a policy that trusts rows because of what stands before them has
// to look at CacheFeedback::changed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/decode/diffusion/canvas_policy.h"
#include "tessera/decode/diffusion/row_set.h"
#include "tessera/decode/options.h"
#include "tessera/decode/strategy.h"

namespace tessera::decode {

// What the planned forward predicts besides storing K/V.
enum class Predict {
  kWindow,      // every undecided position of the window
  kListed,      // those of them that CachePlan::listed names; at least one
  kFirstToken,  // only the first undecided position, which is then committed unconditionally
  kNothing,
};

struct CacheContext {
  const SequenceView& view;
  const Window& window;
  bool new_window = false;  // the window differs from the last step's
  bool refresh = false;     // reused rows have drifted: recompute everything now
};

struct CachePlan {
  ForwardKind kind = ForwardKind::kFull;
  RowSet rows;  // positions to recompute
  RowSet keys;  // positions visible to them
  Predict predict = Predict::kWindow;
  RowSet listed = {};  // kListed only
};

// What came of the last plan.
struct CacheFeedback {
  const SequenceView& view;               // before the step's outcome is applied
  std::span<const Candidate> candidates;  // predictions of undecided positions, ascending
  std::span<const Placement> commits;
  std::span<const int32_t> changed = {};  // positions that were edited or taken back, ascending
};

class CachePolicy {
 public:
  virtual ~CachePolicy() = default;
  virtual CachePlan Plan(const CacheContext& context) = 0;
  // Called after the forward of the last plan has run and its commits are chosen.
  virtual void Ran(const CacheFeedback& feedback) = 0;
};

struct CachePolicyEntry {
  std::string name;
  std::string source;
  std::string help;
  bool approximate = false;  // reuses rows that a full forward would change
  std::vector<OptionSpec> options;
  Result<std::unique_ptr<CachePolicy>> (*make)(const Options& options, const ModelTraits& traits);
};

// For policies that approximate bidirectional attention: block-causal models have an exact cache.
Status RequireBidirectional(const char* name, const ModelTraits& traits);

// A plan that recomputes the whole canvas and predicts the window.
CachePlan FullPlan(const SequenceView& view);

}  // namespace tessera::decode
