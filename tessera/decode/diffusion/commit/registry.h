// The commit rules that registry.inc names.
#pragma once

#include <vector>

#include "tessera/decode/diffusion/commit_rule.h"

namespace tessera::decode {

#define TESSERA_COMMIT_RULE(Name) const CommitRuleEntry& Name();
namespace commit {
#include "tessera/decode/diffusion/commit/registry.inc"
}  // namespace commit
#undef TESSERA_COMMIT_RULE

const std::vector<const CommitRuleEntry*>& CommitRules();

}  // namespace tessera::decode
