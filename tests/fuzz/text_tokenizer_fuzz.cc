// Arbitrary bytes as a tokenizer.json, and as text for a good tokenizer.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "tessera/text/tokenizer.h"

namespace {

constexpr std::string_view kGood = R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"c":3,
  "abc":4,"\u0120":5,"\u00c3":6,"\u00a9":7,"\u00c3\u00a9":8},"merges":["a b","ab c",
  ["\u00c3","\u00a9"]]},"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence",
  "pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
  "behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,
  "use_regex":false}]},"decoder":{"type":"ByteLevel"},"added_tokens":[{"id":9,"content":"<s>",
  "special":true,"lstrip":true,"rstrip":true},{"id":10,"content":"ca","single_word":true}]})";

void Use(const tessera::text::Tokenizer& t, std::string_view text) {
  for (bool flag : {false, true}) {
    const auto ids = t.Encode(text, {.add_special_tokens = flag, .parse_special = flag});
    if (!ids.ok()) continue;
    (void)t.Decode(*ids, flag);
    for (int32_t id : *ids) {
      if (id < 0) std::abort();
      (void)t.TokenBytes(id);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  static const auto good = tessera::text::ParseTokenizerJson(kGood, "good");
  if (!good.ok()) std::abort();
  Use(**good, input);
  // A tokenizer.json, and after the first zero byte a text for it.
  const size_t zero = input.find('\0');
  const auto loaded = tessera::text::ParseTokenizerJson(input.substr(0, zero), "fuzz");
  if (loaded.ok()) {
    Use(**loaded, "abc \xC3\xA9 <s> 'S 12\n\n  x");
    if (zero != input.npos) Use(**loaded, input.substr(zero + 1));
  }
  return 0;
}
