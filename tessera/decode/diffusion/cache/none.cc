// No cache: every step recomputes every visible row. The reference all other policies are held to.
#include "tessera/decode/diffusion/cache/registry.h"

namespace tessera::decode::cache {
namespace {

class NonePolicy : public CachePolicy {
 public:
  explicit NonePolicy(bool block_causal) : block_causal_(block_causal) {}

  CachePlan Plan(const CacheContext& context) override {
    // Later blocks are invisible to a block-causal window.
    const RowSet all(0, block_causal_ ? context.window.block_end : context.view.canvas());
    return {.kind = ForwardKind::kFull, .rows = all, .keys = all};
  }
  void Ran(const CacheFeedback&) override {}

 private:
  bool block_causal_;
};

}  // namespace

const CachePolicyEntry& None() {
  static const CachePolicyEntry entry = {
      .name = "none",
      .source = "LLaDA, arXiv 2502.09992",
      .help = "recompute every row in every step",
      .options = {},
      .make = [](const Options&,
                 const ModelTraits& traits) -> Result<std::unique_ptr<CachePolicy>> {
        return std::unique_ptr<CachePolicy>(
            std::make_unique<NonePolicy>(traits.attention == ops::AttentionKind::kBlockCausal));
      }};
  return entry;
}

}  // namespace tessera::decode::cache
