// DPad (arXiv 2508.14148): of the undecided positions behind the window only a random few are
// computed and seen, fewer the farther they are. They keep their true positions. Wraps any canvas
// policy; given spans behind the window are always seen.
#pragma once

#include <memory>

#include "tessera/decode/diffusion/canvas_policy.h"

namespace tessera::decode::canvas {

struct SuffixDropoutConfig {
  int32_t window = 0;  // positions behind the window that can survive
  double density = 2;  // s: factor of the survival probability s * phi(z)
  double spread = 4;   // k: z runs from 0 to k over the window; phi is the normal density
};

std::unique_ptr<CanvasPolicy> WithSuffixDropout(std::unique_ptr<CanvasPolicy> base,
                                                const SuffixDropoutConfig& config);

}  // namespace tessera::decode::canvas
