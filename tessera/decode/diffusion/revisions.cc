#include "tessera/decode/diffusion/revisions.h"

#include <algorithm>

namespace tessera::decode {

void Revisions::Begin(const SequenceView& view) {
  given_ = *view.committed;
  counts_.assign(given_.size(), 0);
}

Result<bool> Revisions::Take(int32_t index, std::span<const Decided> decided) {
  if (index < 0 || index >= static_cast<int32_t>(decided.size()) ||
      decided[static_cast<size_t>(index)].given) {
    return Internal("the commit rule revises entry {} of {}, or a given one", index,
                    decided.size());
  }
  const int32_t position = decided[static_cast<size_t>(index)].position;
  int32_t& count = counts_[static_cast<size_t>(position)];
  if (count >= limit_) return false;
  ++count;
  changed_.push_back(position);
  return true;
}

Status Revisions::Apply(const Revision& revision, std::span<const Decided> decided,
                        StepOutcome* outcome) {
  changed_.clear();
  for (const Revision::Edit& edit : revision.edits) {
    TESSERA_ASSIGN_OR_RETURN(const bool allowed, Take(edit.index, decided));
    if (!allowed) continue;
    outcome->edits.push_back({.position = decided[static_cast<size_t>(edit.index)].position,
                              .token = edit.token,
                              .confidence = edit.probability});
  }
  for (const int32_t index : revision.remasks) {
    TESSERA_ASSIGN_OR_RETURN(const bool allowed, Take(index, decided));
    if (allowed) outcome->remasks.push_back(decided[static_cast<size_t>(index)].position);
  }
  std::sort(outcome->remasks.begin(), outcome->remasks.end());
  std::sort(changed_.begin(), changed_.end());
  if (std::adjacent_find(changed_.begin(), changed_.end()) != changed_.end()) {
    return Internal("the commit rule revises a position twice in one step");
  }
  return OkStatus();
}

}  // namespace tessera::decode
