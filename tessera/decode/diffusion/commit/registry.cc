#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode {

const std::vector<const CommitRuleEntry*>& CommitRules() {
#define TESSERA_COMMIT_RULE(Name) &commit::Name(),
  static const std::vector<const CommitRuleEntry*> rules = {
#include "tessera/decode/diffusion/commit/registry.inc"
  };
#undef TESSERA_COMMIT_RULE
  return rules;
}

}  // namespace tessera::decode
