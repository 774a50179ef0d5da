// The cache policies, in the order `tessera strategies` lists them.
#pragma once

#include <vector>

#include "tessera/decode/diffusion/cache_policy.h"

namespace tessera::decode {

namespace cache {
const CachePolicyEntry& None();
const CachePolicyEntry& Prefix();
const CachePolicyEntry& Dual();
const CachePolicyEntry& Vicinity();
const CachePolicyEntry& Dkv();
const CachePolicyEntry& DkvGreedy();
const CachePolicyEntry& Recap();
const CachePolicyEntry& Exact();
}  // namespace cache

const std::vector<const CachePolicyEntry*>& CachePolicies();

}  // namespace tessera::decode
