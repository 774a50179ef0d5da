// Tokenizers that are not one tokenizer.json: vocabulary with merges, SentencePiece, tiktoken
// ranks and llama2.c.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "tessera/formats/json.h"
#include "tessera/formats/mapped_file.h"
#include "tessera/formats/quote.h"
#include "tessera/text/byte_level.h"
#include "tessera/text/json_util.h"
#include "tessera/text/tokenizer_load.h"

namespace tessera::text {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The pre-tokeniser of a byte-level family; null when the family is not known.
std::string_view PatternOf(const Sidecar& side) {
  const auto is = [](std::string_view value, std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), value) != names.end();
  };
  if (is(side.tokenizer_class, {"Qwen2Tokenizer", "DreamTokenizer", "SDARTokenizer"})) {
    return kQwen2Pattern;
  }
  if (side.tokenizer_class == "GPT2Tokenizer") return kGpt2Pattern;
  const std::string_view type = side.model_type;
  if (type.starts_with("qwen") || type.starts_with("sdar") || is(type, {"Dream", "dream"})) {
    return kQwen2Pattern;
  }
  if (type.starts_with("llada")) return kLladaPattern;
  if (type == "llama") return kLlama3Pattern;
  if (is(type, {"gpt2", "gpt_neo", "gptj"})) return kGpt2Pattern;
  return {};
}

Result<std::vector<Bpe::Pair>> ParseMerges(std::string_view text, std::string_view name) {
  std::vector<Bpe::Pair> merges;
  size_t line_number = 0;
  for (size_t pos = 0; pos < text.size();) {
    size_t end = std::min(text.find('\n', pos), text.size());
    std::string_view line = text.substr(pos, end - pos);
    pos = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == line.npos || line.find(' ', space + 1) != line.npos) {
      return DataLoss("{}: line {} is {}; accepted: two tokens with one space between them", name,
                      line_number, Quoted(line));
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (char c : text) {
    uint32_t value = 0;
    if (c >= 'A' && c <= 'Z') {
      value = static_cast<uint32_t>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      value = static_cast<uint32_t>(c - 'a' + 26);
    } else if (c >= '0' && c <= '9') {
      value = static_cast<uint32_t>(c - '0' + 52);
    } else if (c == '+' || c == '/') {
      value = c == '+' ? 62 : 63;
    } else {
      return std::nullopt;
    }
    bits = bits << 6 | value;
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count & 0xFF));
    }
  }
  if (out.empty()) return std::nullopt;
  return out;
}

struct RankLine {
  std::string bytes;
  int32_t rank = 0;
};

std::optional<RankLine> ParseRankLine(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const size_t space = line.find(' ');
  if (space == line.npos) return std::nullopt;
  RankLine out;
  const auto bytes = DecodeBase64(line.substr(0, space));
  const char* last = line.data() + line.size();
  const auto [end, error] = std::from_chars(line.data() + space + 1, last, out.rank);
  if (!bytes || error != std::errc() || end != last) return std::nullopt;
  if (out.rank < 0 || out.rank > kMaxTokenId) return std::nullopt;
  out.bytes = *bytes;
  return out;
}

// The 256 special tokens of Llama 3 in the order of its own tokenizer.py.
std::vector<std::string> Llama3SpecialTokens() {
  std::vector<std::string> names = {"<|begin_of_text|>", "<|end_of_text|>"};
  const auto reserve = [&](int from, int to) {
    for (int i = from; i < to; ++i)
      names.push_back(fmt::format("<|reserved_special_token_{}|>", i));
  };
  reserve(0, 4);
  names.insert(names.end(), {"<|start_header_id|>", "<|end_header_id|>"});
  reserve(4, 5);
  names.push_back("<|eot_id|>");
  reserve(5, 251);
  return names;
}

constexpr int32_t kLlama3Ranks = 128000;

}  // namespace

json ByteLevelSpec(std::string_view pattern, bool add_prefix_space) {
  const json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", add_prefix_space},
                      {"use_regex", pattern == kGpt2Pattern}};
  if (pattern == kGpt2Pattern) return bytes;
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"},
             {"pattern", {{"Regex", std::string(pattern)}}},
             {"behavior", "Isolated"},
             {"invert", false}},
            bytes}}};
}

Result<Parts> PartsFromVocabAndMerges(const fs::path& folder, const Sidecar& sidecar) {
  const std::string vocab_name = (folder / "vocab.json").string();
  const std::string merges_name = (folder / "merges.txt").string();
  auto parts = std::make_unique<TokenizerParts>();
  TESSERA_ASSIGN_OR_RETURN(const json vocab, ReadJsonFile(vocab_name));
  if (!vocab.is_object()) return DataLoss("{}: the top level is no object", vocab_name);
  for (const auto& [token, value] : vocab.items()) {
    auto id = TokenIdFrom(value, token);
    if (!id.ok()) return id.status().WithContext(vocab_name);
    if (Status s = parts->vocab.Add(token, *id); !s.ok()) return s.WithContext(vocab_name);
  }
  TESSERA_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(merges_name));
  TESSERA_ASSIGN_OR_RETURN(const auto merges, ParseMerges(mapped->text(), merges_name));
  std::string_view pattern = PatternOf(sidecar);
  if (pattern.empty()) {
    if (!sidecar.tokenizer_class.empty() || !sidecar.model_type.empty()) {
      return Unimplemented(
          "{}: vocab.json and merges.txt of tokenizer_class {}, model_type {}: how this family "
          "splits words is not known; accepted: Qwen2Tokenizer, DreamTokenizer, SDARTokenizer, "
          "GPT2Tokenizer, or a tokenizer.json",
          Printable(folder.string(), 4096), Quoted(sidecar.tokenizer_class),
          Quoted(sidecar.model_type));
    }
    pattern = kGpt2Pattern;
  }
  if (pattern == kQwen2Pattern) {
    TESSERA_ASSIGN_OR_RETURN(parts->normalizer, Normalizer::FromJson({{"type", "NFC"}}));
  }
  TESSERA_ASSIGN_OR_RETURN(parts->pre_tokenizer, PreTokenizer::FromJson(ByteLevelSpec(
                                                     pattern, sidecar.add_prefix_space)));
  parts->decoder = Decoder::ByteLevel();
  BpeOptions options;
  options.byte_level = true;
  auto bpe = Bpe::FromMerges(parts->vocab, merges, std::move(options));
  if (!bpe.ok()) return bpe.status().WithContext(merges_name);
  parts->bpe = *std::move(bpe);
  if (pattern == kGpt2Pattern) {
    if (const auto end = parts->vocab.Find("<|endoftext|>")) {
      AddedToken token;
      token.content = "<|endoftext|>";
      token.id = *end;
      token.special = true;
      TESSERA_RETURN_IF_ERROR(parts->AddToken(token));
      parts->bos = parts->eos = end;
    }
  }
  return parts;
}

Result<Parts> PartsFromSentencePiece(std::string_view bytes, const Sidecar& sidecar) {
  auto parts = std::make_unique<TokenizerParts>();
  TESSERA_ASSIGN_OR_RETURN(parts->sentencepiece, SentencePieceModel::FromBytes(bytes));
  const SentencePieceModel& model = *parts->sentencepiece;
  for (int32_t id = 0; id < model.size(); ++id) {
    const std::string piece = model.Piece(id);
    if (!model.IsSpecial(id)) {
      TESSERA_RETURN_IF_ERROR(parts->vocab.Add(piece, id));
      continue;
    }
    AddedToken token;
    token.content = piece;
    token.id = id;
    token.special = true;
    // What the folder says of this token replaces the default flags.
    for (const AddedToken& other : sidecar.added) {
      if (other.content == piece) token = other, token.id = id;
    }
    TESSERA_RETURN_IF_ERROR(parts->AddToken(token));
  }
  parts->prefix_every_chunk = sidecar.legacy;
  parts->decoder = Decoder::SentencePiece(/*strip_leading_space=*/true);
  if (model.bos_id() >= 0) parts->bos = model.bos_id();
  if (model.eos_id() >= 0) parts->eos = model.eos_id();
  if (sidecar.add_bos && parts->bos) parts->before.push_back(*parts->bos);
  if (sidecar.add_eos && parts->eos) parts->after.push_back(*parts->eos);
  return parts;
}

bool LooksLikeTiktoken(std::string_view text) {
  return ParseRankLine(text.substr(0, text.find('\n'))).has_value();
}

Result<Parts> PartsFromTiktoken(std::string_view text, const Sidecar& sidecar) {
  auto parts = std::make_unique<TokenizerParts>();
  std::vector<std::string> spelling;
  std::vector<uint32_t> ranks;
  size_t line_number = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = std::min(text.find('\n', pos), text.size());
    const std::string_view line = text.substr(pos, end - pos);
    pos = end + 1;
    ++line_number;
    if (line.empty() || line == "\r") continue;
    const auto parsed = ParseRankLine(line);
    if (!parsed) {
      return DataLoss("line {} is {}; accepted: a base64 token, a space, a rank from 0 to {}",
                      line_number, Quoted(line), kMaxTokenId);
    }
    const auto index = static_cast<size_t>(parsed->rank);
    TESSERA_RETURN_IF_ERROR(parts->vocab.Add(ToByteLevel(parsed->bytes), parsed->rank));
    if (index >= spelling.size()) spelling.resize(index + 1), ranks.resize(index + 1);
    spelling[index] = parsed->bytes;
    ranks[index] = static_cast<uint32_t>(parsed->rank);
  }
  TESSERA_ASSIGN_OR_RETURN(parts->pre_tokenizer,
                           PreTokenizer::FromJson(ByteLevelSpec(kLlama3Pattern, false)));
  parts->decoder = Decoder::ByteLevel();
  BpeOptions options;
  options.byte_level = true;
  options.ignore_merges = true;
  TESSERA_ASSIGN_OR_RETURN(parts->bpe,
                           Bpe::FromRanks(parts->vocab, spelling, ranks, {}, std::move(options)));
  if (sidecar.added.empty() && parts->vocab.size() == kLlama3Ranks) {
    int32_t id = kLlama3Ranks;
    for (const std::string& name : Llama3SpecialTokens()) {
      AddedToken token;
      token.content = name;
      token.id = id++;
      token.special = true;
      TESSERA_RETURN_IF_ERROR(parts->AddToken(token));
    }
    parts->eos = parts->vocab.Find("<|end_of_text|>");
  }
  if (parts->vocab.size() >= kLlama3Ranks) {
    parts->bos = kLlama3Ranks;
    if (sidecar.add_bos) parts->before.push_back(kLlama3Ranks);
  }
  return parts;
}

Result<Parts> PartsFromLlama2c(std::string_view bytes) {
  auto parts = std::make_unique<TokenizerParts>();
  std::vector<std::string> spelling;
  std::vector<float> scores;
  size_t pos = 0;
  const auto take = [&](auto* value) {
    if (bytes.size() - pos < sizeof(*value)) return false;
    std::memcpy(value, bytes.data() + pos, sizeof(*value));
    pos += sizeof(*value);
    return true;
  };
  int32_t max_length = 0;
  if (!take(&max_length) || max_length < 1 || max_length > 4096) {
    return DataLoss("llama2.c tokenizer: longest token of {} bytes; accepted: 1 to 4096",
                    max_length);
  }
  std::array<int32_t, 256> byte_tokens;
  for (int i = 0; i < 256; ++i) byte_tokens[i] = i + 3;
  while (pos < bytes.size()) {
    float score = 0;
    int32_t length = 0;
    if (!take(&score) || !take(&length) || length < 0 || length > max_length ||
        bytes.size() - pos < static_cast<size_t>(length) || std::isnan(score)) {
      return DataLoss("llama2.c tokenizer: token {} at byte {} is damaged", spelling.size(), pos);
    }
    spelling.emplace_back(bytes.substr(pos, static_cast<size_t>(length)));
    scores.push_back(score);
    pos += static_cast<size_t>(length);
    TESSERA_RETURN_IF_ERROR(
        parts->vocab.Add(spelling.back(), static_cast<int32_t>(spelling.size()) - 1));
  }
  if (spelling.size() < 259) {
    return DataLoss("llama2.c tokenizer: {} tokens; accepted: at least 259 (3 special, 256 bytes)",
                    spelling.size());
  }
  // Best score first; equal scores share a rank so that the leftmost pair wins.
  std::vector<float> order = scores;
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::vector<uint32_t> ranks(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto it = std::lower_bound(order.begin(), order.end(), scores[i], std::greater<>());
    ranks[i] = static_cast<uint32_t>(it - order.begin());
  }
  TESSERA_ASSIGN_OR_RETURN(parts->normalizer,
                           Normalizer::FromJson({{"type", "Prepend"}, {"prepend", " "}}));
  BpeOptions options;
  options.byte_fallback = true;
  TESSERA_ASSIGN_OR_RETURN(
      parts->bpe, Bpe::FromRanks(parts->vocab, spelling, ranks,
                                 {byte_tokens.begin(), byte_tokens.end()}, std::move(options)));
  parts->decoder = Decoder::SentencePiece(/*strip_leading_space=*/true);
  parts->special_ids = {0, 1, 2};
  parts->bos = 1;
  parts->eos = 2;
  parts->before = {1};
  return parts;
}

}  // namespace tessera::text
