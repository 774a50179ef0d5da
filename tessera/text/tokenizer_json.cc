// tokenizer.json as the reference `tokenizers` library writes it, model kind BPE.
#include "tessera/formats/json.h"
#include "tessera/formats/quote.h"
#include "tessera/text/json_util.h"
#include "tessera/text/tokenizer_load.h"

namespace tessera::text {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 16;
constexpr size_t kMaxAddedIds = 64;

Result<Bpe::Pair> ParseMerge(const json& value, size_t index) {
  if (value.is_string()) {
    const auto& line = value.get_ref<const std::string&>();
    const size_t space = line.find(' ');
    if (space != line.npos && line.find(' ', space + 1) == line.npos) {
      return Bpe::Pair(line.substr(0, space), line.substr(space + 1));
    }
  } else if (value.is_array() && value.size() == 2 && value[0].is_string() &&
             value[1].is_string()) {
    return Bpe::Pair(value[0].get<std::string>(), value[1].get<std::string>());
  }
  return DataLoss("model.merges[{}] is neither \"left right\" nor [\"left\", \"right\"]", index);
}

Status ParseModel(const json& model, TokenizerParts* parts) {
  if (!model.is_object()) return DataLoss("'model' is missing or no object");
  const std::string type = StringOr(model, "type", Member(model, "merges").is_array() ? "BPE" : "");
  if (type != "BPE") {
    return Unimplemented("model kind {} is not supported; accepted: BPE", Quoted(type));
  }
  const auto& vocab = Member(model, "vocab");
  const auto& merges = Member(model, "merges");
  if (!vocab.is_object()) return DataLoss("'model.vocab' is missing or no object");
  if (!merges.is_array()) return DataLoss("'model.merges' is missing or no list");
  for (const auto& [token, value] : vocab.items()) {
    TESSERA_ASSIGN_OR_RETURN(const int32_t id, TokenIdFrom(value, token));
    TESSERA_RETURN_IF_ERROR(parts->vocab.Add(token, id));
  }
  std::vector<Bpe::Pair> pairs;
  pairs.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    TESSERA_ASSIGN_OR_RETURN(auto pair, ParseMerge(merges[i], i));
    pairs.push_back(std::move(pair));
  }
  const auto& dropout = Member(model, "dropout");
  if (dropout.is_number() && dropout.get<double>() != 0.0) {
    return Unimplemented("model.dropout {} is not supported; accepted: null or 0", dropout.dump());
  }
  BpeOptions options;
  options.byte_level = parts->pre_tokenizer.byte_level();
  options.byte_fallback = BoolOr(model, "byte_fallback", false);
  options.ignore_merges = BoolOr(model, "ignore_merges", false);
  options.fuse_unk = BoolOr(model, "fuse_unk", false);
  if (Member(model, "unk_token").is_string()) options.unk_token = StringOr(model, "unk_token", "");
  options.continuing_subword_prefix = StringOr(model, "continuing_subword_prefix", "");
  options.end_of_word_suffix = StringOr(model, "end_of_word_suffix", "");
  if (options.byte_level &&
      !(options.continuing_subword_prefix.empty() && options.end_of_word_suffix.empty())) {
    return Unimplemented("byte-level BPE with subword prefix or suffix is not supported");
  }
  TESSERA_ASSIGN_OR_RETURN(parts->bpe, Bpe::FromMerges(parts->vocab, pairs, std::move(options)));
  return OkStatus();
}

Status AppendIds(const json& ids, std::vector<int32_t>* out) {
  if (!ids.is_array()) return DataLoss("post_processor: special token without a list 'ids'");
  for (const auto& id : ids) {
    TESSERA_ASSIGN_OR_RETURN(const int32_t value, TokenIdFrom(id, "of post_processor"));
    out->push_back(value);
    if (out->size() > kMaxAddedIds) {
      return ResourceExhausted("post_processor adds more than {} tokens", kMaxAddedIds);
    }
  }
  return OkStatus();
}

Status ParsePostProcessor(const json& spec, int depth, TokenizerParts* parts) {
  if (spec.is_null()) return OkStatus();
  if (depth > kMaxDepth) return DataLoss("post_processor: nested deeper than {}", kMaxDepth);
  const std::string type = StringOr(spec, "type", "");
  std::vector<int32_t> before, after;
  if (type == "ByteLevel") return OkStatus();  // concerns offsets only
  if (type == "Sequence") {
    for (const auto& item : Member(spec, "processors")) {
      TESSERA_RETURN_IF_ERROR(ParsePostProcessor(item, depth + 1, parts));
    }
    return OkStatus();
  }
  if (type == "TemplateProcessing") {
    const auto& single = Member(spec, "single");
    if (!single.is_array()) return DataLoss("post_processor: TemplateProcessing without 'single'");
    bool seen_text = false;
    for (const auto& piece : single) {
      if (Member(piece, "Sequence").is_object()) {
        if (seen_text) return Unimplemented("post_processor: the template repeats the text");
        seen_text = true;
      } else {
        const std::string name = StringOr(Member(piece, "SpecialToken"), "id", "");
        TESSERA_RETURN_IF_ERROR(
            AppendIds(Member(Member(Member(spec, "special_tokens"), name), "ids"),
                      seen_text ? &after : &before));
      }
    }
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    const auto id_of = [&](const char* key, std::vector<int32_t>* out) -> Status {
      const auto& pair = Member(spec, key);
      if (!pair.is_array() || pair.size() != 2) return DataLoss("post_processor: no '{}'", key);
      return AppendIds(json::array({pair[1]}), out);
    };
    TESSERA_RETURN_IF_ERROR(id_of("cls", &before));
    TESSERA_RETURN_IF_ERROR(id_of("sep", &after));
  } else {
    return Unimplemented(
        "post_processor: kind {} is not supported; known: TemplateProcessing, ByteLevel, Sequence, "
        "RobertaProcessing, BertProcessing",
        Quoted(type));
  }
  parts->before.insert(parts->before.begin(), before.begin(), before.end());
  parts->after.insert(parts->after.end(), after.begin(), after.end());
  if (parts->before.size() + parts->after.size() > 2 * kMaxAddedIds) {
    return ResourceExhausted("post_processor adds more than {} tokens", 2 * kMaxAddedIds);
  }
  return OkStatus();
}

Status Fill(const json& file, TokenizerParts* parts) {
  if (!file.is_object()) return DataLoss("the top level is no object");
  TESSERA_ASSIGN_OR_RETURN(parts->normalizer, Normalizer::FromJson(Member(file, "normalizer")));
  TESSERA_ASSIGN_OR_RETURN(parts->pre_tokenizer,
                           PreTokenizer::FromJson(Member(file, "pre_tokenizer")));
  TESSERA_ASSIGN_OR_RETURN(parts->decoder, Decoder::FromJson(Member(file, "decoder")));
  TESSERA_RETURN_IF_ERROR(ParseModel(Member(file, "model"), parts));
  TESSERA_RETURN_IF_ERROR(ParsePostProcessor(Member(file, "post_processor"), 0, parts));
  const auto& added = Member(file, "added_tokens");
  if (added.is_array()) {
    for (const auto& item : added) {
      TESSERA_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(item));
      TESSERA_ASSIGN_OR_RETURN(token.id, TokenIdFrom(Member(item, "id"), token.content));
      // The vocabulary's id wins over the file's, as in the reference.
      if (const auto known = parts->vocab.Find(token.content)) token.id = *known;
      TESSERA_RETURN_IF_ERROR(parts->AddToken(token));
    }
  }
  return OkStatus();
}

}  // namespace

Result<Parts> PartsFromTokenizerJson(std::string_view text, std::string_view name) {
  TESSERA_ASSIGN_OR_RETURN(const json file, ParseJson(text, name));
  auto parts = std::make_unique<TokenizerParts>();
  if (Status s = Fill(file, parts.get()); !s.ok()) return s.WithContext(Printable(name, 4096));
  return parts;
}

}  // namespace tessera::text
