#include "tessera/decode/diffusion/canvas/registry.h"

namespace tessera::decode {

const std::vector<const CanvasPolicyEntry*>& CanvasPolicies() {
  static const std::vector<const CanvasPolicyEntry*> policies = {&canvas::Blocks(),
                                                                 &canvas::Whole()};
  return policies;
}

}  // namespace tessera::decode
