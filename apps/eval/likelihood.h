// How likely a model finds the answers of cases.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "apps/eval/case.h"
#include "apps/eval/runner.h"

namespace tessera::eval {

struct LikelihoodOptions {
  uint64_t seed = 0;
  int draws = 8;  // masked copies of each answer; diffusion models only
  std::function<bool()> keep_going;
};
// Nats of each answer, with the token that ends the turn, given its prompt. Causal models: exact.
// Diffusion models: the bound of LLaDA (arXiv 2502.09992, eq. 6): for an answer of L tokens,
//   L E[ 1/l sum over l masked tokens of -log p ],  l uniform in 1..L, which tokens at random;
// l is drawn from `draws` equal strata, which leaves the mean as it is and lowers the variance.
Result<Measurement> MeasureLikelihood(api::Model& model, std::span<const Case> cases,
                                      const LikelihoodOptions& options);

}  // namespace tessera::eval
