// A SentencePiece model file (`tokenizer.model` of Llama-2, Phi-3, Mistral) run by
// libsentencepiece.
//
// Owns the two processors a model may need: as trained, and without the dummy prefix. Refuses
// files libsentencepiece cannot parse.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"

namespace tessera::text {

class SentencePieceModel {
 public:
  static Result<std::unique_ptr<SentencePieceModel>> FromBytes(std::string_view bytes);
  ~SentencePieceModel();

  // `dummy_prefix` false: as in the middle of a text.
  Status Encode(std::string_view utf8, bool dummy_prefix, std::vector<int32_t>* out) const;

  int32_t size() const;
  std::string Piece(int32_t id) const;
  bool IsSpecial(int32_t id) const;  // unknown or control
  int32_t bos_id() const;            // -1 when absent
  int32_t eos_id() const;

 private:
  struct Impl;
  explicit SentencePieceModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera::text
