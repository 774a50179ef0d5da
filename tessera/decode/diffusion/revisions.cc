#include "tessera/decode/diffusion/revisions.h"

#include <algorithm>

namespace tessera::decode {

void Revisions::Begin(const SequenceView& view) {
  given_ = *view.committed;
  counts_.assign(given_.size(), 0);
}

Result<int32_t> Revisions::Take(int32_t index, std::span<const Decided> decided) {
  if (index < 0 || index >= static_cast<int32_t>(decided.size()) ||
      Fixed(decided[static_cast<size_t>(index)].position)) {
    return Internal("the commit rule revises entry {} of {}, or a fixed one", index,
                    decided.size());
  }
  const int32_t position = decided[static_cast<size_t>(index)].position;
  ++counts_[static_cast<size_t>(position)];
  changed_.push_back(position);
  return position;
}

Status Revisions::Apply(const Revision& revision, std::span<const Decided> decided,
                        StepOutcome* outcome) {
  changed_.clear();
  for (const Revision::Edit& edit : revision.edits) {
    TESSERA_ASSIGN_OR_RETURN(const int32_t position, Take(edit.index, decided));
    outcome->edits.push_back(
        {.position = position, .token = edit.token, .confidence = edit.probability});
  }
  for (const int32_t index : revision.remasks) {
    TESSERA_ASSIGN_OR_RETURN(const int32_t position, Take(index, decided));
    outcome->remasks.push_back(position);
  }
  std::sort(outcome->remasks.begin(), outcome->remasks.end());
  std::sort(changed_.begin(), changed_.end());
  if (std::adjacent_find(changed_.begin(), changed_.end()) != changed_.end()) {
    return Internal("the commit rule revises a position twice in one step");
  }
  return OkStatus();
}

}  // namespace tessera::decode
