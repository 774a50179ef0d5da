#include "tessera/text/incremental_decoder.h"

#include "tessera/text/decoder.h"

namespace tessera::text {

IncrementalDecoder::IncrementalDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special), stream_(tokenizer.NewDecodeStream()) {}
IncrementalDecoder::~IncrementalDecoder() = default;
IncrementalDecoder::IncrementalDecoder(IncrementalDecoder&&) noexcept = default;

std::string IncrementalDecoder::Push(int32_t id) { return Push(std::span(&id, 1)); }

std::string IncrementalDecoder::Push(std::span<const int32_t> ids) {
  std::string out;
  for (int32_t id : ids) {
    const std::string* token = tokenizer_->DecodableToken(id, skip_special_);
    if (token != nullptr) stream_->Push(*token, &out);
  }
  return out;
}

std::string IncrementalDecoder::Finish() {
  std::string out;
  stream_->Finish(&out);
  return out;
}

}  // namespace tessera::text
