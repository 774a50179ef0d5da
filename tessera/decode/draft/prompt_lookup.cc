#include "tessera/decode/draft/prompt_lookup.h"

#include <algorithm>

namespace tessera::decode {

const std::vector<OptionSpec>& PromptLookupOptions() {
  static const std::vector<OptionSpec> specs = {
      IntOption("ngram", 3, 1, 32, "longest n-gram looked up"),
      IntOption("min_ngram", 1, 1, 32, "shortest n-gram looked up"),
      IntOption("draft", 8, 1, 63, "most tokens proposed per step"),
  };
  return specs;
}

PromptLookup::PromptLookup(int32_t max_ngram, int32_t min_ngram, int32_t max_draft)
    : max_ngram_(max_ngram), min_ngram_(min_ngram), max_draft_(max_draft) {}

std::vector<ops::TokenId> PromptLookup::Propose(std::span<const ops::TokenId> text,
                                                int32_t max_tokens) {
  const int32_t length = static_cast<int32_t>(text.size());
  for (int32_t n = std::min(max_ngram_, length - 1); n >= min_ngram_; --n) {
    const auto pattern = text.end() - n;
    // The most recent earlier occurrence; it may overlap the pattern itself.
    for (int32_t start = length - n - 1; start >= 0; --start) {
      if (!std::equal(pattern, text.end(), text.begin() + start)) continue;
      const int32_t from = start + n;
      const int32_t count = std::min({max_draft_, max_tokens, length - from});
      if (count <= 0) break;
      return {text.begin() + from, text.begin() + from + count};
    }
  }
  return {};
}

}  // namespace tessera::decode
