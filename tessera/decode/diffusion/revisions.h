// What a commit rule may still change: which positions were given, how often each was revised.
// Turns a rule's revision into edits and remasks of a step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/decode/diffusion/commit_rule.h"
#include "tessera/decode/strategy.h"

namespace tessera::decode {

class Revisions {
 public:
  // A position is revised at most `limit` times, then it stays.
  explicit Revisions(int32_t limit) : limit_(limit) {}

  // Before the first step; what is decided then was given.
  void Begin(const SequenceView& view);
  bool Given(int32_t position) const { return given_[static_cast<size_t>(position)]; }
  // Given, or revised as often as is allowed.
  bool Fixed(int32_t position) const {
    return Given(position) || counts_[static_cast<size_t>(position)] >= limit_;
  }

  // Adds the revision to `outcome` and counts it. Refuses one that names a fixed position, none, or
  // one twice.
  Status Apply(const Revision& revision, std::span<const Decided> decided, StepOutcome* outcome);
  // Positions the last Apply changed, ascending.
  std::span<const int32_t> changed() const { return changed_; }

 private:
  // Counts a revision of the index-th decided position and returns the position.
  Result<int32_t> Take(int32_t index, std::span<const Decided> decided);

  int32_t limit_;
  std::vector<bool> given_;      // [canvas]
  std::vector<int32_t> counts_;  // [canvas]
  std::vector<int32_t> changed_;
};

}  // namespace tessera::decode
