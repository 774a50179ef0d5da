// Text to token ids and back, for the tokenizer files found in model folders.
//
// Owns loading (tokenizer.json; vocab.json + merges.txt; tokenizer.model as SentencePiece or as
// tiktoken ranks; llama2.c's tokenizer.bin; the metadata of a GGUF file), encoding equal to the
// reference `tokenizers` library, and decoding. Refuses text that is not valid UTF-8, naming the
// byte. All methods of a loaded tokenizer are const and may be called from several threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"

namespace tessera::text {

struct EncodeOptions {
  bool add_special_tokens = false;  // what the file's post-processor adds, such as bos
  bool parse_special = true;        // "<|im_end|>" in the text becomes that token
};

class DecodeStream;
struct TokenizerParts;

class Tokenizer {
 public:
  explicit Tokenizer(std::unique_ptr<TokenizerParts> parts);
  ~Tokenizer();

  Result<std::vector<int32_t>> Encode(std::string_view utf8, EncodeOptions options = {}) const;

  // Valid UTF-8; bytes that form no character become U+FFFD. Ids the tokenizer does not know are
  // passed over.
  std::string Decode(std::span<const int32_t> ids, bool skip_special = false) const;

  // What one token stands for; may be part of a character. Empty for an unknown id.
  std::string TokenBytes(int32_t id) const;

  std::optional<int32_t> TokenToId(std::string_view token) const;
  std::optional<std::string> IdToToken(int32_t id) const;

  int32_t vocab_size() const;  // one past the largest id
  bool IsSpecial(int32_t id) const;
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;

  // For IncrementalDecoder.
  std::unique_ptr<DecodeStream> NewDecodeStream() const;

 private:
  friend class IncrementalDecoder;
  const std::string* DecodableToken(int32_t id, bool skip_special) const;
  Status EncodeText(std::string_view text, bool at_start, void* scratch,
                    std::vector<int32_t>* out) const;

  std::unique_ptr<TokenizerParts> parts_;
};

// Loads from a model folder, or from one of the files named above. The error for a folder without
// any of them names the folder and the accepted sets.
Result<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::filesystem::path& model_folder_or_file);

// The same from the text of a tokenizer.json; `name` stands in error messages.
Result<std::unique_ptr<Tokenizer>> ParseTokenizerJson(std::string_view text, std::string_view name);

}  // namespace tessera::text
