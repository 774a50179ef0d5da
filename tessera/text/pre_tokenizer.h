// The `pre_tokenizer` of tokenizer.json: how text is cut into words that merges never cross.
//
// Owns Sequence, ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Punctuation and Metaspace.
// Refuses the others by name when the file is loaded. A ByteLevel step at the end is not carried
// out as a string rewrite: the words stay raw bytes and byte_level() tells the model so.
#pragma once

#include <deque>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/text/regex.h"

namespace tessera::text {

// The words of one text. Views point into the text or into `owned`, which keeps rewritten strings
// at stable addresses.
struct Words {
  std::vector<std::string_view> list;
  std::deque<std::string> owned;
};

class PreTokenizer {
 public:
  PreTokenizer() = default;  // the whole text is one word

  static Result<PreTokenizer> FromJson(const nlohmann::json& spec);

  bool byte_level() const { return byte_level_; }

  // Appends the words of `utf8`, which begins the original text if `at_start`.
  Status Run(std::string_view utf8, bool at_start, Words* words) const;

 private:
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Step {
    enum class Kind {
      kSplit,
      kByteMap,
      kPrefixSpace,
      kDigits,
      kWhitespace,
      kWhitespaceSplit,
      kPunctuation,
      kMetaspace
    };
    Kind kind = Kind::kSplit;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
    bool individual = false;  // Digits
    bool split = true;        // Metaspace
    bool prepend_always = false, prepend_first = false;
    std::string literal;  // Split by a string, or Metaspace's replacement
    std::shared_ptr<const Regex> regex;
  };
  struct Piece {
    Span span;
    bool match = false;
  };

  Status Append(const nlohmann::json& spec, int depth);
  static Status AppendSplit(const Step& step, std::string_view text, std::vector<Piece>* scratch,
                            std::vector<std::string_view>* out);
  static void Emit(std::vector<Piece>& pieces, Behavior behavior, std::string_view text,
                   std::vector<std::string_view>* out);
  static Result<Behavior> ParseBehavior(std::string_view name);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

// Patterns of model families whose folders hold only vocabulary and merges.
extern const std::string_view kGpt2Pattern;
extern const std::string_view kLlama3Pattern;
extern const std::string_view kQwen2Pattern;
extern const std::string_view kLladaPattern;

}  // namespace tessera::text
