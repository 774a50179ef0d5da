// What a loader fills in to make a Tokenizer. Internal to the room.
#pragma once

#include <memory>
#include <optional>
#include <unordered_set>
#include <vector>

#include "tessera/text/added_tokens.h"
#include "tessera/text/bpe.h"
#include "tessera/text/decoder.h"
#include "tessera/text/normalizer.h"
#include "tessera/text/pre_tokenizer.h"
#include "tessera/text/sentence_piece.h"
#include "tessera/text/vocab.h"

namespace tessera::text {

struct TokenizerParts {
  Vocab vocab;
  AddedTokenMatcher raw_tokens;         // found before normalisation
  AddedTokenMatcher normalized_tokens;  // found after it
  std::unordered_set<int32_t> special_ids;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::optional<Bpe> bpe;  // exactly one of the two models
  std::unique_ptr<SentencePieceModel> sentencepiece;
  bool prefix_every_chunk = true;  // sentencepiece: dummy prefix after added tokens too (legacy)
  std::vector<int32_t> before, after;  // ids the post-processor adds
  Decoder decoder;
  std::optional<int32_t> bos, eos;

  // Registers a token with vocabulary and matcher. Set the normaliser first.
  Status AddToken(const AddedToken& token);
};

}  // namespace tessera::text
