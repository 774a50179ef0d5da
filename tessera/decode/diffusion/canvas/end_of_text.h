// End-of-text prediction (Learn2PD, arXiv 2509.25188): once the end of the text is known, what lies
// behind it leaves the canvas, so no forward pays for it. Wraps any canvas policy.
//
// Deviations: only output is ever dropped, never a given position; and a prediction of the end does
// not drop words that are decided behind it.
#pragma once

#include <memory>

#include "tessera/decode/diffusion/canvas_policy.h"

namespace tessera::decode::canvas {

enum class EndOfTextRule {
  kDecided,    // an end-of-text token has been committed (the paper's text)
  kPredicted,  // or, failing that, is the best guess of an undecided position (the published code)
};

// `threshold`: least probability of a prediction that counts for kPredicted.
std::unique_ptr<CanvasPolicy> WithEndOfTextTruncation(std::unique_ptr<CanvasPolicy> base,
                                                      EndOfTextRule rule, double threshold,
                                                      std::vector<TokenId> stop_ids);

}  // namespace tessera::decode::canvas
