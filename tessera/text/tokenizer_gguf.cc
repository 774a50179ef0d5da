// The tokenizer inside a GGUF file: "gpt2" (byte-level BPE with merges) and "llama" (SentencePiece
// pieces with scores and byte tokens).
#include <algorithm>
#include <bit>
#include <cmath>

#include "tessera/formats/gguf_header.h"
#include "tessera/formats/quote.h"
#include "tessera/text/json_util.h"
#include "tessera/text/tokenizer_load.h"

namespace tessera::text {
namespace {

// tokenizer.ggml.token_type, and the piece types of SentencePiece: the same numbers.
enum TokenType : int64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct Vocabulary {
  std::vector<std::string_view> tokens;
  std::vector<int64_t> types;  // [tokens]
};

Result<Vocabulary> ReadVocabulary(const GgufMetadata& metadata) {
  Vocabulary vocabulary;
  TESSERA_ASSIGN_OR_RETURN(vocabulary.tokens, metadata.GetStrings("tokenizer.ggml.tokens"));
  TESSERA_ASSIGN_OR_RETURN(vocabulary.types, metadata.GetInts("tokenizer.ggml.token_type"));
  const size_t count = vocabulary.tokens.size();
  if (count == 0 || count > static_cast<size_t>(kMaxTokenId) + 1) {
    return DataLoss("key 'tokenizer.ggml.tokens' has {} tokens; accepted: 1 to {}", count,
                    kMaxTokenId + 1);
  }
  if (vocabulary.types.empty()) vocabulary.types.assign(count, kNormal);
  if (vocabulary.types.size() != count) {
    return DataLoss("{} tokens, but {} in 'tokenizer.ggml.token_type'", count,
                    vocabulary.types.size());
  }
  for (size_t id = 0; id < count; ++id) {
    if (!IsUtf8(vocabulary.tokens[id])) {
      return DataLoss("token {} is {}, which is not UTF-8", id, Quoted(vocabulary.tokens[id]));
    }
    if (vocabulary.types[id] < kNormal || vocabulary.types[id] > kByte) {
      return DataLoss("token {} has type {}; accepted: 1 to 6", id, vocabulary.types[id]);
    }
  }
  return vocabulary;
}

// How a family of byte-level tokenizers cuts and merges words.
struct Family {
  std::string_view pattern;
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;  // unless the file says otherwise
};

// tokenizer.ggml.pre names a pattern. Files of `llada` may not name one.
Result<Family> FamilyOf(const GgufMetadata& metadata) {
  TESSERA_ASSIGN_OR_RETURN(const std::string_view pre,
                           metadata.GetStringOr("tokenizer.ggml.pre", "default"));
  TESSERA_ASSIGN_OR_RETURN(const std::string_view architecture,
                           metadata.GetStringOr("general.architecture", ""));
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), pre) != names.end();
  };
  if (is({"llama-bpe", "llama3", "llama-v3"})) {
    return Family{.pattern = kLlama3Pattern, .ignore_merges = true, .add_bos = true};
  }
  if (is({"qwen2", "deepseek-r1-qwen"})) return Family{.pattern = kQwen2Pattern, .nfc = true};
  if (is({"gpt-2"})) return Family{.pattern = kGpt2Pattern};
  if (is({"llada", "llada-moe", "bailingmoe"}) || (pre == "default" && architecture == "llada")) {
    return Family{.pattern = kLladaPattern};
  }
  return Unimplemented(
      "key 'tokenizer.ggml.pre' is {}: how this family splits words is not known; accepted: "
      "llama-bpe, qwen2, deepseek-r1-qwen, gpt-2, llada",
      Quoted(pre));
}

Result<Parts> PartsFromGpt2(const GgufMetadata& metadata, bool* add_bos) {
  auto parts = std::make_unique<TokenizerParts>();
  TESSERA_ASSIGN_OR_RETURN(const Family family, FamilyOf(metadata));
  TESSERA_ASSIGN_OR_RETURN(const Vocabulary vocabulary, ReadVocabulary(metadata));
  TESSERA_ASSIGN_OR_RETURN(const auto lines, metadata.GetStrings("tokenizer.ggml.merges"));
  *add_bos = family.add_bos;
  if (family.nfc) {
    TESSERA_ASSIGN_OR_RETURN(parts->normalizer, Normalizer::FromJson({{"type", "NFC"}}));
  }
  TESSERA_ASSIGN_OR_RETURN(parts->pre_tokenizer,
                           PreTokenizer::FromJson(ByteLevelSpec(family.pattern, false)));
  parts->decoder = Decoder::ByteLevel();
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const int32_t id = static_cast<int32_t>(i);
    const int64_t type = vocabulary.types[i];
    if (type == kUnused) continue;  // pads the table to the size of the embedding
    if (type != kControl && type != kUserDefined) {
      TESSERA_RETURN_IF_ERROR(parts->vocab.Add(vocabulary.tokens[i], id));
      continue;
    }
    AddedToken token;
    token.content = vocabulary.tokens[i];
    token.id = id;
    token.special = type == kControl;
    TESSERA_RETURN_IF_ERROR(parts->AddToken(token));
  }
  std::vector<Bpe::Pair> merges;
  merges.reserve(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = lines[i];
    const size_t space = line.find(' ');
    if (space == line.npos || line.find(' ', space + 1) != line.npos) {
      return DataLoss("merge {} is {}; accepted: two tokens with one space between them", i,
                      Quoted(line));
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  BpeOptions options;
  options.byte_level = true;
  options.ignore_merges = family.ignore_merges;
  TESSERA_ASSIGN_OR_RETURN(parts->bpe, Bpe::FromMerges(parts->vocab, merges, std::move(options)));
  return parts;
}

// The wire format of protocol buffers, as far as SentencePiece's ModelProto needs it.
void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}
void AppendNumber(uint32_t field, uint64_t value, std::string* out) {
  AppendVarint(field << 3, out);
  AppendVarint(value, out);
}
void AppendBytes(uint32_t field, std::string_view bytes, std::string* out) {
  AppendVarint(field << 3 | 2, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}
void AppendFloat(uint32_t field, float value, std::string* out) {
  AppendVarint(field << 3 | 5, out);
  for (uint32_t bits = std::bit_cast<uint32_t>(value), i = 0; i < 4; ++i, bits >>= 8) {
    out->push_back(static_cast<char>(bits));
  }
}

// The file's pieces as the model file they came from, so that libsentencepiece runs both.
// Field numbers: sentencepiece_model.proto.
Result<std::string> SentencePieceProto(const GgufMetadata& metadata) {
  TESSERA_ASSIGN_OR_RETURN(const Vocabulary vocabulary, ReadVocabulary(metadata));
  TESSERA_ASSIGN_OR_RETURN(const auto scores, metadata.GetFloats("tokenizer.ggml.scores"));
  if (scores.size() != vocabulary.tokens.size()) {
    return DataLoss("{} tokens, but {} in 'tokenizer.ggml.scores'", vocabulary.tokens.size(),
                    scores.size());
  }
  std::string model;
  for (size_t id = 0; id < scores.size(); ++id) {
    if (!std::isfinite(scores[id])) return DataLoss("the score of token {} is not finite", id);
    std::string piece;
    AppendBytes(1, vocabulary.tokens[id], &piece);
    AppendFloat(2, scores[id], &piece);
    AppendNumber(3, static_cast<uint64_t>(vocabulary.types[id]), &piece);
    AppendBytes(1, piece, &model);
  }
  std::string trainer, normalizer;
  AppendNumber(3, /*BPE*/ 2, &trainer);
  const bool bytes =
      std::find(vocabulary.types.begin(), vocabulary.types.end(), kByte) != vocabulary.types.end();
  AppendNumber(35, bytes, &trainer);  // byte_fallback
  const auto unknown = std::find(vocabulary.types.begin(), vocabulary.types.end(), kUnknown);
  if (unknown != vocabulary.types.end()) {
    const auto id = static_cast<size_t>(unknown - vocabulary.types.begin());
    AppendBytes(45, vocabulary.tokens[id], &trainer);  // unk_piece
  }
  TESSERA_ASSIGN_OR_RETURN(const bool prefix,
                           metadata.GetBoolOr("tokenizer.ggml.add_space_prefix", true));
  TESSERA_ASSIGN_OR_RETURN(const bool trim,
                           metadata.GetBoolOr("tokenizer.ggml.remove_extra_whitespaces", false));
  AppendBytes(1, "identity", &normalizer);
  AppendNumber(3, prefix, &normalizer);  // add_dummy_prefix
  AppendNumber(4, trim, &normalizer);    // remove_extra_whitespaces
  AppendNumber(5, 1, &normalizer);       // escape_whitespaces
  AppendBytes(2, trainer, &model);
  AppendBytes(3, normalizer, &model);
  return model;
}

Result<Parts> PartsFromPieces(const GgufMetadata& metadata, bool* add_bos) {
  TESSERA_ASSIGN_OR_RETURN(const std::string model, SentencePieceProto(metadata));
  Sidecar sidecar;
  sidecar.add_bos = false;  // the file names the tokens, see AddEnds
  TESSERA_ASSIGN_OR_RETURN(Parts parts, PartsFromSentencePiece(model, sidecar));
  *add_bos = true;
  return parts;
}

// Begin and end of text, and whether encoding adds them.
Status AddEnds(const GgufMetadata& metadata, bool add_bos, TokenizerParts* parts) {
  const auto read = [&](const char* key, std::optional<int32_t>* id) -> Status {
    TESSERA_ASSIGN_OR_RETURN(const int64_t value,
                             metadata.GetIntOr(key, -1, {.min = 0, .max = kMaxTokenId}));
    if (value < 0) return OkStatus();
    *id = static_cast<int32_t>(value);
    if (parts->vocab.Token(**id) == nullptr) {
      return DataLoss("key '{}' is {}; accepted: the id of a token", key, value);
    }
    parts->special_ids.insert(**id);
    return OkStatus();
  };
  TESSERA_RETURN_IF_ERROR(read("tokenizer.ggml.bos_token_id", &parts->bos));
  TESSERA_RETURN_IF_ERROR(read("tokenizer.ggml.eos_token_id", &parts->eos));
  TESSERA_ASSIGN_OR_RETURN(add_bos, metadata.GetBoolOr("tokenizer.ggml.add_bos_token", add_bos));
  TESSERA_ASSIGN_OR_RETURN(const bool add_eos,
                           metadata.GetBoolOr("tokenizer.ggml.add_eos_token", false));
  if (add_bos && parts->bos) parts->before.push_back(*parts->bos);
  if (add_eos && parts->eos) parts->after.push_back(*parts->eos);
  return OkStatus();
}

Result<Parts> Build(const GgufMetadata& metadata) {
  TESSERA_ASSIGN_OR_RETURN(const std::string_view model,
                           metadata.GetString("tokenizer.ggml.model"));
  if (model != "gpt2" && model != "llama") {
    return Unimplemented("key 'tokenizer.ggml.model' is {}; accepted: gpt2, llama", Quoted(model));
  }
  bool add_bos = false;
  TESSERA_ASSIGN_OR_RETURN(Parts parts, model == "gpt2" ? PartsFromGpt2(metadata, &add_bos)
                                                        : PartsFromPieces(metadata, &add_bos));
  TESSERA_RETURN_IF_ERROR(AddEnds(metadata, add_bos, parts.get()));
  return parts;
}

}  // namespace

Result<Parts> PartsFromGguf(const GgufMetadata& metadata) {
  if (!metadata.Has("tokenizer.ggml.model")) {
    return NotFound("{}: holds no tokenizer: key 'tokenizer.ggml.model' is missing",
                    metadata.name());
  }
  // What the public converter writes for a model without a vocabulary.
  if (const auto model = metadata.GetString("tokenizer.ggml.model");
      model.ok() && (*model == "no_vocab" || *model == "none")) {
    return NotFound("{}: holds no tokenizer: key 'tokenizer.ggml.model' is '{}'", metadata.name(),
                    *model);
  }
  Result<Parts> parts = Build(metadata);
  // Some messages begin with the file already.
  if (!parts.ok() && !parts.status().message().starts_with(metadata.name())) {
    return parts.status().WithContext(metadata.name());
  }
  return parts;
}

}  // namespace tessera::text
