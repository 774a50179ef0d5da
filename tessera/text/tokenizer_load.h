// Loaders of the single file forms, and what lies beside them in a model folder. Internal.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/formats/gguf_header.h"
#include "tessera/text/tokenizer_parts.h"

namespace tessera::text {

// tokenizer_config.json, special_tokens_map.json, added_tokens.json and config.json of a folder,
// as far as a tokenizer needs them.
struct Sidecar {
  std::vector<AddedToken> added;
  std::optional<std::string> bos, eos;
  std::string tokenizer_class;  // without "Fast"
  std::string model_type;
  bool add_prefix_space = false;
  bool legacy = true;
  bool add_bos = true;
  bool add_eos = false;
};

Result<Sidecar> ReadSidecar(const std::filesystem::path& folder);

// Adds the sidecar's tokens that `parts` lacks and fills in bos and eos.
Status ApplySidecar(const Sidecar& sidecar, TokenizerParts* parts);

Result<AddedToken> ParseAddedToken(const nlohmann::json& spec);

using Parts = std::unique_ptr<TokenizerParts>;
Result<Parts> PartsFromTokenizerJson(std::string_view text, std::string_view name);
Result<Parts> PartsFromVocabAndMerges(const std::filesystem::path& folder, const Sidecar& sidecar);
Result<Parts> PartsFromSentencePiece(std::string_view bytes, const Sidecar& sidecar);
Result<Parts> PartsFromTiktoken(std::string_view text, const Sidecar& sidecar);
Result<Parts> PartsFromLlama2c(std::string_view bytes);
Result<Parts> PartsFromGguf(const GgufMetadata& metadata);

// The pre_tokenizer of a byte-level family, as tokenizer.json has it.
nlohmann::json ByteLevelSpec(std::string_view pattern, bool add_prefix_space);

// Content looks like tiktoken's "base64 rank" lines.
bool LooksLikeTiktoken(std::string_view text);

}  // namespace tessera::text
