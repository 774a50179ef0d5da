// The `normalizer` of tokenizer.json: what is done to text before it is split.
//
// Owns Sequence, NFC/NFD/NFKC/NFKD, Lowercase, Prepend, Replace, Strip and StripAccents. Refuses
// the others by name when the file is loaded.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/text/regex.h"
#include "tessera/text/unicode.h"

namespace tessera::text {

class Normalizer {
 public:
  Normalizer() = default;  // changes nothing

  static Result<Normalizer> FromJson(const nlohmann::json& spec);

  bool empty() const { return steps_.empty(); }
  Result<std::string> Run(std::string_view utf8) const;

 private:
  struct Step {
    enum class Kind {
      kForm,
      kLowercase,
      kPrepend,
      kReplaceString,
      kReplaceRegex,
      kStrip,
      kAccents
    };
    Kind kind = Kind::kForm;
    NormalForm form = NormalForm::kNfc;
    std::string from;  // replaced string
    std::string to;    // replacement or prepended text
    std::shared_ptr<const Regex> regex;
    bool left = false, right = false;
  };
  Status Append(const nlohmann::json& spec, int depth);

  std::vector<Step> steps_;
};

}  // namespace tessera::text
