// The canvas policies, in the order `tessera strategies` lists them.
#pragma once

#include <vector>

#include "tessera/decode/diffusion/canvas_policy.h"

namespace tessera::decode {

namespace canvas {
const CanvasPolicyEntry& Blocks();
const CanvasPolicyEntry& Whole();
const CanvasPolicyEntry& AdaBlock();
const CanvasPolicyEntry& MultiBlock();
const CanvasPolicyEntry& SlowFast();
}  // namespace canvas

const std::vector<const CanvasPolicyEntry*>& CanvasPolicies();

// Options that go with every canvas policy, and the policy with what they ask for around it.
const std::vector<OptionSpec>& CanvasExtras();
Result<std::unique_ptr<CanvasPolicy>> WithCanvasExtras(std::unique_ptr<CanvasPolicy> base,
                                                       const Options& options,
                                                       const ModelTraits& traits);

}  // namespace tessera::decode
