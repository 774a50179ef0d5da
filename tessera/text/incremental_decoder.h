// Streaming detokeniser: ids come in, complete characters come out.
//
// Never emits part of a UTF-8 character. The concatenated output, including Finish, equals
// Tokenizer::Decode of all ids for every way of cutting the stream. It holds back: an unfinished
// character of a byte-level model; a run of <0xXX> byte tokens until it ends, because the
// reference replaces the whole run when any part of it is invalid.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "tessera/text/tokenizer.h"

namespace tessera::text {

class IncrementalDecoder {
 public:
  // `tokenizer` must outlive the decoder.
  explicit IncrementalDecoder(const Tokenizer& tokenizer, bool skip_special = false);
  ~IncrementalDecoder();
  IncrementalDecoder(IncrementalDecoder&&) noexcept;

  // The text that became certain. To continue a prompt, push its ids and drop the text: then a
  // first new token keeps its leading space where the decoder strips the text's first one.
  std::string Push(int32_t id);
  std::string Push(std::span<const int32_t> ids);

  // What was held back, invalid bytes as U+FFFD. The decoder then begins a new text.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::unique_ptr<DecodeStream> stream_;
};

}  // namespace tessera::text
