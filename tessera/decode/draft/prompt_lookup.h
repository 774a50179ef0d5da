// Prompt lookup (n-gram) drafting: continues the text as it continued the last time its newest
// n-gram occurred. Needs no model and no state; good where the output repeats the prompt.
#pragma once

#include "tessera/decode/draft/drafter.h"
#include "tessera/decode/options.h"

namespace tessera::decode {

const std::vector<OptionSpec>& PromptLookupOptions();

class PromptLookup : public Drafter {
 public:
  // Tries n-grams of max_ngram tokens first, then shorter ones down to min_ngram; proposes at most
  // max_draft tokens.
  PromptLookup(int32_t max_ngram, int32_t min_ngram, int32_t max_draft);

  std::vector<ops::TokenId> Propose(std::span<const ops::TokenId> text,
                                    int32_t max_tokens) override;

 private:
  int32_t max_ngram_, min_ngram_, max_draft_;
};

}  // namespace tessera::decode
