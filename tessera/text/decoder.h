// The `decoder` of tokenizer.json: from token strings back to text, one token at a time.
//
// Owns Sequence, ByteLevel, ByteFallback, Fuse, Strip, Replace and Metaspace. Every stage is
// written as a stream, and decoding a whole list is pushing its tokens and finishing, so that
// streaming and whole decoding cannot differ. Refuses other kinds by name at load.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/text/unicode.h"

namespace tessera::text {

class Decoder {
 public:
  Decoder();  // as the reference without a decoder: tokens joined by spaces

  static Result<Decoder> FromJson(const nlohmann::json& spec);
  static Decoder ByteLevel();
  // U+2581 is a space, <0xXX> a byte, one leading space of the whole text is dropped.
  static Decoder SentencePiece(bool strip_leading_space);

  // What a token stands for on its own, as bytes that may be part of a character.
  std::string TokenBytes(std::string_view token) const;

 private:
  friend class DecodeStream;
  struct Stage {
    enum class Kind { kJoin, kByteLevel, kByteFallback, kFuse, kStrip, kReplace, kMetaspace };
    Kind kind = Kind::kJoin;
    bool fused = false;  // its input is one long token rather than many
    std::string from, to;
    int start = 0, stop = 0;
    bool prepend = false;
  };
  Status Append(const nlohmann::json& spec, int depth);
  void Add(Stage stage);

  std::vector<Stage> stages_;
};

// Decodes one sequence of tokens. Output is valid UTF-8 as long as the tokens are.
class DecodeStream {
 public:
  // `decoder` must outlive the stream.
  explicit DecodeStream(const Decoder& decoder);

  void Push(std::string_view token, std::string* out);
  void Finish(std::string* out);  // emits what is held back; the stream begins anew

 private:
  struct State {
    std::string held;
    Utf8Lossy lossy;
    int stripped = 0;
    bool started = false;
    bool past_start = false;
  };
  void Run(size_t stage, std::string_view token, std::string* out);
  void FlushBytes(size_t stage, std::string* out);
  std::string StripToken(const Decoder::Stage& stage, std::string_view token) const;

  const Decoder* decoder_;
  std::vector<State> states_;
};

}  // namespace tessera::text
