#include "tessera/decode/diffusion/cache/registry.h"

namespace tessera::decode {

const std::vector<const CachePolicyEntry*>& CachePolicies() {
  static const std::vector<const CachePolicyEntry*> policies = {
      &cache::None(),     &cache::Prefix(), &cache::Dual(),      &cache::Exact(),
      &cache::Vicinity(), &cache::Dkv(),    &cache::DkvGreedy(), &cache::Recap()};
  return policies;
}

}  // namespace tessera::decode
