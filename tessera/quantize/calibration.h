// What a model is shown while its weights are measured: texts in the states that its way of
// decoding passes through. A pure function of texts and seed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/ops/model_traits.h"

namespace tessera::quantize {

struct CalibrationText {
  std::vector<ops::TokenId> tokens;
  int32_t given = 0;  // of them: a prompt, which decoding never masks
};

struct CalibrationOptions {
  int64_t max_rows = int64_t{1} << 15;
  uint64_t seed = 0;
};

struct CalibrationSet {
  std::vector<std::vector<ops::TokenId>> sequences;  // none longer than the context
  int64_t rows = 0;                                  // tokens of all of them
  int64_t maskable = 0, masked = 0;                  // of those that are not given

  double mask_ratio() const {
    return maskable == 0 ? 0 : static_cast<double>(masked) / static_cast<double>(maskable);
  }
};

// Causal models read every text once, as it is. Diffusion models read the texts over and over
// until max_rows are reached, each time with a new ratio t, uniform in (0, 1), and every token
// that is not given masked with probability t, as in training (LLaDA, arXiv 2502.09992, eq. 3).
// Block-causal models see the text up to a random block and mask only that one, because they
// decode behind finished blocks. At least one token is masked.
Result<CalibrationSet> MakeCalibration(std::span<const CalibrationText> texts,
                                       const ops::ModelTraits& traits,
                                       const CalibrationOptions& options);

}  // namespace tessera::quantize
