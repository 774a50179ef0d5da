// The canvas policies, in the order `tessera strategies` lists them.
#pragma once

#include <vector>

#include "tessera/decode/diffusion/canvas_policy.h"

namespace tessera::decode {

namespace canvas {
const CanvasPolicyEntry& Blocks();
const CanvasPolicyEntry& Whole();
}  // namespace canvas

const std::vector<const CanvasPolicyEntry*>& CanvasPolicies();

}  // namespace tessera::decode
