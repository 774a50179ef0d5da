#include "tessera/text/tokenizer_load.h"

#include <algorithm>

#include "tessera/formats/gguf.h"
#include "tessera/formats/json.h"
#include "tessera/formats/mapped_file.h"
#include "tessera/formats/quote.h"
#include "tessera/text/json_util.h"
#include "tessera/text/tokenizer.h"

namespace tessera::text {
namespace {

namespace fs = std::filesystem;

bool IsFile(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

// A token given as a string or as an AddedToken object; empty when null or absent.
std::optional<std::string> TokenContent(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (Member(value, "content").is_string()) return StringOr(value, "content", "");
  return std::nullopt;
}

Result<nlohmann::json> ReadOptionalJson(const fs::path& path) {
  if (!IsFile(path)) return nlohmann::json();
  return ReadJsonFile(path.string());
}

Result<int32_t> ParseId(std::string_view digits, std::string_view token) {
  int64_t id = 0;
  if (digits.empty() || digits.size() > 10) id = -1;
  for (char c : digits) {
    if (c < '0' || c > '9' || id < 0) {
      id = -1;
      break;
    }
    id = id * 10 + (c - '0');
  }
  return TokenIdFrom(nlohmann::json(id), token);
}

}  // namespace

Result<AddedToken> ParseAddedToken(const nlohmann::json& spec) {
  AddedToken token;
  const auto content = TokenContent(spec);
  if (!content) return DataLoss("added token without a string 'content'");
  token.content = *content;
  token.special = BoolOr(spec, "special", false);
  token.lstrip = BoolOr(spec, "lstrip", false);
  token.rstrip = BoolOr(spec, "rstrip", false);
  token.single_word = BoolOr(spec, "single_word", false);
  token.normalized = BoolOr(spec, "normalized", !token.special);
  return token;
}

Result<Sidecar> ReadSidecar(const fs::path& folder) {
  Sidecar side;
  TESSERA_ASSIGN_OR_RETURN(const auto config, ReadOptionalJson(folder / "tokenizer_config.json"));
  TESSERA_ASSIGN_OR_RETURN(const auto map, ReadOptionalJson(folder / "special_tokens_map.json"));
  TESSERA_ASSIGN_OR_RETURN(const auto extra, ReadOptionalJson(folder / "added_tokens.json"));
  TESSERA_ASSIGN_OR_RETURN(const auto model, ReadOptionalJson(folder / "config.json"));
  side.model_type = StringOr(model, "model_type", "");
  side.tokenizer_class = StringOr(config, "tokenizer_class", "");
  if (side.tokenizer_class.ends_with("Fast")) {
    side.tokenizer_class.resize(side.tokenizer_class.size() - 4);
  }
  side.add_prefix_space = BoolOr(config, "add_prefix_space", false);
  side.legacy = BoolOr(config, "legacy", true);
  side.add_bos = BoolOr(config, "add_bos_token", true);
  side.add_eos = BoolOr(config, "add_eos_token", false);
  const auto special = [&](const char* name) {
    const auto from_config = TokenContent(Member(config, name));
    return from_config ? from_config : TokenContent(Member(map, name));
  };
  side.bos = special("bos_token");
  side.eos = special("eos_token");

  std::vector<std::string> specials;
  for (const auto* object : {&config, &map}) {
    if (!object->is_object()) continue;
    for (const auto& [key, value] : object->items()) {
      if (!key.ends_with("_token") && key != "additional_special_tokens") continue;
      if (value.is_array()) {
        for (const auto& item : value) {
          if (auto content = TokenContent(item)) specials.push_back(*content);
        }
      } else if (auto content = TokenContent(value)) {
        specials.push_back(*content);
      }
    }
  }
  const auto& decoder = Member(config, "added_tokens_decoder");
  if (decoder.is_object()) {
    for (const auto& [key, value] : decoder.items()) {
      TESSERA_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(value));
      TESSERA_ASSIGN_OR_RETURN(token.id, ParseId(key, token.content));
      side.added.push_back(std::move(token));
    }
  }
  // As in transformers: added_tokens_decoder, when there, replaces added_tokens.json.
  if (extra.is_object() && side.added.empty()) {
    for (const auto& item : extra.items()) {
      const std::string& content = item.key();
      TESSERA_ASSIGN_OR_RETURN(const int32_t id, TokenIdFrom(item.value(), content));
      if (std::any_of(side.added.begin(), side.added.end(),
                      [&](const AddedToken& t) { return t.content == content; })) {
        continue;
      }
      AddedToken token;
      token.content = content;
      token.id = id;
      token.special = std::find(specials.begin(), specials.end(), content) != specials.end();
      token.normalized = !token.special;
      side.added.push_back(std::move(token));
    }
  }
  std::sort(side.added.begin(), side.added.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return side;
}

Status ApplySidecar(const Sidecar& sidecar, TokenizerParts* parts) {
  for (AddedToken token : sidecar.added) {
    if (const auto known = parts->vocab.Find(token.content)) token.id = *known;
    TESSERA_RETURN_IF_ERROR(parts->AddToken(token));
  }
  const auto resolve = [&](const std::optional<std::string>& name, std::optional<int32_t>* id) {
    if (!name) return;
    const auto found = parts->vocab.Find(*name);
    if (!found) return;
    *id = found;
    parts->special_ids.insert(*found);
  };
  resolve(sidecar.bos, &parts->bos);
  resolve(sidecar.eos, &parts->eos);
  return OkStatus();
}

Result<std::unique_ptr<Tokenizer>> ParseTokenizerJson(std::string_view text,
                                                      std::string_view name) {
  TESSERA_ASSIGN_OR_RETURN(Parts parts, PartsFromTokenizerJson(text, name));
  return std::make_unique<Tokenizer>(std::move(parts));
}

namespace {

Result<Parts> LoadParts(const fs::path& file, const fs::path& folder, Sidecar* sidecar) {
  auto read = ReadSidecar(folder);
  if (!read.ok()) return read.status();
  *sidecar = *std::move(read);
  const std::string name = file.filename().string();
  if (name == "vocab.json" || name == "merges.txt") {
    return PartsFromVocabAndMerges(folder, *sidecar);
  }
  TESSERA_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(file.string()));
  const std::string_view bytes = mapped->text();
  if (name.ends_with(".json")) return PartsFromTokenizerJson(bytes, file.string());
  Result<Parts> parts = name.ends_with(".bin")     ? PartsFromLlama2c(bytes)
                        : LooksLikeTiktoken(bytes) ? PartsFromTiktoken(bytes, *sidecar)
                                                   : PartsFromSentencePiece(bytes, *sidecar);
  if (!parts.ok()) return parts.status().WithContext(Printable(file.string(), 4096));
  return parts;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> LoadTokenizer(const fs::path& model_folder_or_file) {
  fs::path file = model_folder_or_file;
  fs::path folder = file.parent_path();
  std::error_code error;
  if (fs::is_directory(model_folder_or_file, error)) {
    folder = model_folder_or_file;
    file.clear();
    if (IsFile(folder / "tokenizer.json")) {
      file = folder / "tokenizer.json";
    } else if (IsFile(folder / "vocab.json") && IsFile(folder / "merges.txt")) {
      file = folder / "vocab.json";
    } else if (IsFile(folder / "tokenizer.model")) {
      file = folder / "tokenizer.model";
    } else if (IsFile(folder / "tokenizer.bin")) {
      file = folder / "tokenizer.bin";
    }
  } else if (!IsFile(file)) {
    file.clear();
  }
  if (file.extension() == ".gguf") {
    TESSERA_ASSIGN_OR_RETURN(const GgufMetadataFile gguf, OpenGgufMetadata(file.string()));
    TESSERA_ASSIGN_OR_RETURN(Parts parts, PartsFromGguf(gguf.metadata));
    return std::make_unique<Tokenizer>(std::move(parts));
  }
  if (file.empty()) {
    return NotFound(
        "{}: no tokenizer here; accepted: tokenizer.json, vocab.json with merges.txt, "
        "tokenizer.model (SentencePiece or tiktoken), tokenizer.bin (llama2.c) or a .gguf file",
        Quoted(model_folder_or_file.string()));
  }
  Sidecar sidecar;
  TESSERA_ASSIGN_OR_RETURN(Parts parts, LoadParts(file, folder, &sidecar));
  // llama2.c files stand alone: a vocabulary beside them may belong to another model.
  if (file.extension() != ".bin") {
    if (Status s = ApplySidecar(sidecar, parts.get()); !s.ok()) {
      return s.WithContext(Printable(folder.string(), 4096));
    }
  }
  return std::make_unique<Tokenizer>(std::move(parts));
}

}  // namespace tessera::text
