#include "tessera/text/tokenizer.h"

#include <utility>

#include "tessera/text/tokenizer_parts.h"
#include "tessera/text/unicode.h"

namespace tessera::text {
namespace {

constexpr size_t kMaxText = size_t{1} << 30;

struct EncodeScratch {
  explicit EncodeScratch(size_t bytes) : bpe(bytes) {}
  Bpe::Scratch bpe;
  Words words;
  std::deque<std::string> normalized;  // keeps words of the cache in place
};

}  // namespace

Status TokenizerParts::AddToken(const AddedToken& token) {
  if (auto bad = FindInvalidUtf8(token.content)) {
    return DataLoss("added token {} is not valid UTF-8 at byte {}", token.id, *bad);
  }
  TESSERA_RETURN_IF_ERROR(vocab.Add(token.content, token.id));
  if (token.special) special_ids.insert(token.id);
  if (!token.normalized) return raw_tokens.Add(token, token.content);
  TESSERA_ASSIGN_OR_RETURN(const std::string pattern, normalizer.Run(token.content));
  return normalized_tokens.Add(token, pattern);
}

Tokenizer::Tokenizer(std::unique_ptr<TokenizerParts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

Status Tokenizer::EncodeText(std::string_view text, bool at_start, void* scratch_pointer,
                             std::vector<int32_t>* out) const {
  auto& scratch = *static_cast<EncodeScratch*>(scratch_pointer);
  if (parts_->sentencepiece) {
    return parts_->sentencepiece->Encode(text, parts_->prefix_every_chunk || at_start, out);
  }
  scratch.words.list.clear();
  TESSERA_RETURN_IF_ERROR(parts_->pre_tokenizer.Run(text, at_start, &scratch.words));
  for (std::string_view word : scratch.words.list) {
    TESSERA_RETURN_IF_ERROR(parts_->bpe->EncodeWord(word, &scratch.bpe, out));
  }
  return OkStatus();
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view utf8, EncodeOptions options) const {
  if (utf8.size() > kMaxText) {
    return ResourceExhausted("text of {} bytes is over the limit of {}", utf8.size(), kMaxText);
  }
  if (auto bad = FindInvalidUtf8(utf8)) {
    return InvalidArgument("text is not valid UTF-8 at byte {}", *bad);
  }
  std::vector<int32_t> ids;
  ids.reserve(utf8.size() / 4 + 8);
  if (options.add_special_tokens) ids = parts_->before;
  EncodeScratch scratch(utf8.size());
  std::vector<AddedTokenMatcher::Piece> chunks, inner;
  parts_->raw_tokens.Split(utf8, options.parse_special, &chunks);
  for (const auto& chunk : chunks) {
    if (chunk.id) {
      ids.push_back(*chunk.id);
      continue;
    }
    std::string_view text = utf8.substr(chunk.span.begin, chunk.span.end - chunk.span.begin);
    if (!parts_->normalizer.empty()) {
      auto normalized = parts_->normalizer.Run(text);
      if (!normalized.ok()) return normalized.status();
      text = scratch.normalized.emplace_back(*std::move(normalized));
    }
    const bool at_start = chunk.span.begin == 0;
    if (parts_->normalized_tokens.empty()) {
      TESSERA_RETURN_IF_ERROR(EncodeText(text, at_start, &scratch, &ids));
      continue;
    }
    inner.clear();
    parts_->normalized_tokens.Split(text, options.parse_special, &inner);
    for (const auto& piece : inner) {
      if (piece.id) {
        ids.push_back(*piece.id);
      } else {
        TESSERA_RETURN_IF_ERROR(
            EncodeText(text.substr(piece.span.begin, piece.span.end - piece.span.begin),
                       at_start && piece.span.begin == 0, &scratch, &ids));
      }
    }
  }
  if (options.add_special_tokens) {
    ids.insert(ids.end(), parts_->after.begin(), parts_->after.end());
  }
  return ids;
}

const std::string* Tokenizer::DecodableToken(int32_t id, bool skip_special) const {
  if (skip_special && IsSpecial(id)) return nullptr;
  return parts_->vocab.Token(id);
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string out;
  DecodeStream stream(parts_->decoder);
  for (int32_t id : ids) {
    if (const std::string* token = DecodableToken(id, skip_special)) stream.Push(*token, &out);
  }
  stream.Finish(&out);
  return out;
}

std::string Tokenizer::TokenBytes(int32_t id) const {
  const std::string* token = parts_->vocab.Token(id);
  if (token == nullptr) return "";
  return IsSpecial(id) ? *token : parts_->decoder.TokenBytes(*token);
}

std::optional<int32_t> Tokenizer::TokenToId(std::string_view token) const {
  return parts_->vocab.Find(token);
}

std::optional<std::string> Tokenizer::IdToToken(int32_t id) const {
  const std::string* token = parts_->vocab.Token(id);
  if (token == nullptr) return std::nullopt;
  return *token;
}

int32_t Tokenizer::vocab_size() const { return parts_->vocab.size(); }
bool Tokenizer::IsSpecial(int32_t id) const { return parts_->special_ids.contains(id); }
std::optional<int32_t> Tokenizer::bos_id() const { return parts_->bos; }
std::optional<int32_t> Tokenizer::eos_id() const { return parts_->eos; }

std::unique_ptr<DecodeStream> Tokenizer::NewDecodeStream() const {
  return std::make_unique<DecodeStream>(parts_->decoder);
}

}  // namespace tessera::text
