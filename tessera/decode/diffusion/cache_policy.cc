#include "tessera/decode/diffusion/cache_policy.h"

namespace tessera::decode {

Status RequireBidirectional(const char* name, const ModelTraits& traits) {
  if (traits.attention == ops::AttentionKind::kBidirectional) return OkStatus();
  return InvalidArgument(
      "cache={} approximates bidirectional attention; this model is {}: use cache=exact or none",
      name, ops::Name(traits.attention));
}

CachePlan FullPlan(const SequenceView& view) {
  const RowSet all(0, view.canvas());
  return {.kind = ForwardKind::kFull, .rows = all, .keys = all};
}

}  // namespace tessera::decode
