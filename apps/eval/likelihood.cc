#include "apps/eval/likelihood.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "apps/eval/encode.h"
#include "apps/eval/errors.h"
#include "apps/eval/rng.h"

namespace tessera::eval {
namespace {

using Ids = std::vector<api::TokenId>;

// -log softmax(logits)[target].
double Nats(std::span<const float> logits, api::TokenId target) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum) - logits[static_cast<size_t>(target)];
}

// What the whole costs more than the prompt alone.
Result<double> CausalNats(api::Model& model, const Ids& prompt, const Ids& whole) {
  const auto total = [&](const Ids& ids) -> Result<double> {
    if (ids.size() < 2) return 0.0;
    TESSERA_ASSIGN_OR_RETURN(const api::Score score, model.ScoreIds(ids));
    return score.nll_per_token * static_cast<double>(score.tokens);
  };
  TESSERA_ASSIGN_OR_RETURN(const double with_answer, total(whole));
  TESSERA_ASSIGN_OR_RETURN(const double without, total(prompt));
  return with_answer - without;
}

// One draw of the bound, with `masked` of the answer's tokens masked.
Result<double> MaskedNats(api::Model& model, const Ids& prompt, const Ids& whole, int masked,
                          CaseRng* rng) {
  const api::ModelInfo& info = model.info();
  std::vector<size_t> positions(whole.size() - prompt.size());
  std::iota(positions.begin(), positions.end(), prompt.size());
  const auto length = static_cast<double>(positions.size());
  rng->Shuffle(&positions);
  positions.resize(static_cast<size_t>(masked));
  Ids ids = whole;
  for (const size_t position : positions) ids[position] = info.mask_id;
  TESSERA_ASSIGN_OR_RETURN(const std::vector<float> logits, model.Logits(ids));
  const size_t vocab = logits.size() / ids.size();
  double nats = 0;
  for (const size_t position : positions) {
    const size_t row = position - (info.shifted_logits ? 1 : 0);
    nats += Nats(std::span(logits).subspan(row * vocab, vocab), whole[position]);
  }
  return length / masked * nats;
}

}  // namespace

Result<Measurement> MeasureLikelihood(api::Model& model, std::span<const Case> cases,
                                      const LikelihoodOptions& options) {
  const api::ModelInfo& info = model.info();
  const bool causal = info.attention == "causal";
  if (!causal && info.attention != "bidirectional") {
    return BadRequest(
        "likelihood: a {} model's bound would need its training masks; accepted: causal and "
        "bidirectional models",
        info.attention);
  }
  const auto end = EndOfTurn(model);
  Measurement sum;
  for (size_t i = 0; i < cases.size(); ++i) {
    TESSERA_ASSIGN_OR_RETURN(const Ids prompt, EncodeCase(model, cases[i]));
    TESSERA_ASSIGN_OR_RETURN(Ids answer, model.Encode(cases[i].answer, /*special=*/false));
    if (end) answer.push_back(*end);
    if (answer.empty() || prompt.empty()) continue;
    Ids whole = prompt;
    whole.insert(whole.end(), answer.begin(), answer.end());
    const double tokens = static_cast<double>(answer.size());
    double nats = 0;
    if (causal) {
      TESSERA_ASSIGN_OR_RETURN(nats, CausalNats(model, prompt, whole));
      sum.full += 1;
    } else {
      CaseRng rng(options.seed, "likelihood", i);
      constexpr uint64_t kFine = 1 << 20;
      for (int draw = 0; draw < options.draws; ++draw) {
        const double place = draw + static_cast<double>(rng.Below(kFine)) / kFine;  // in stratum
        const int masked = 1 + static_cast<int>(place / options.draws * tokens);
        TESSERA_ASSIGN_OR_RETURN(const double drawn,
                                 MaskedNats(model, prompt, whole, masked, &rng));
        nats += drawn / options.draws;
        if (options.keep_going && !options.keep_going()) {
          return Status(StatusCode::kCancelled, "interrupted");
        }
      }
      sum.full += options.draws;
    }
    if (options.keep_going && !options.keep_going()) {
      return Status(StatusCode::kCancelled, "interrupted");
    }
    ++sum.cases;
    sum.nll += nats, sum.nll_squares += nats * nats, sum.nll_by_tokens += nats * tokens;
    sum.nll_tokens += static_cast<int64_t>(answer.size()), sum.tokens_squares += tokens * tokens;
  }
  if (sum.cases == 0) return BadRequest("likelihood: no case has an answer");
  return sum;
}

}  // namespace tessera::eval
