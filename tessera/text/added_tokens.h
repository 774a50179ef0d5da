// Added and special tokens: strings found in text before the model sees it.
//
// Owns the longest-leftmost search and the flags lstrip, rstrip, single_word and normalized, with
// the meaning the reference gives them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/text/regex.h"

namespace tessera::text {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;
  bool lstrip = false;
  bool rstrip = false;
  bool single_word = false;
  bool normalized = false;
};

// Finds tokens of one kind (all raw, or all normalised) in a text.
class AddedTokenMatcher {
 public:
  struct Piece {
    Span span;
    std::optional<int32_t> id;  // empty: ordinary text
  };

  // `pattern` is what is looked for: the content, or the normalised content.
  Status Add(const AddedToken& token, std::string_view pattern);
  bool empty() const { return tokens_.empty(); }

  // Cuts the text into tokens and the text between them. With `parse_special` false, special
  // tokens are ordinary text.
  void Split(std::string_view text, bool parse_special, std::vector<Piece>* out) const;

 private:
  struct Node {
    int32_t child = -1;
    int32_t sibling = -1;
    int32_t token = -1;
    unsigned char byte = 0;
  };
  int32_t Child(int32_t node, unsigned char byte) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  int32_t root_[256] = {};  // 0: no token begins with this byte
};

}  // namespace tessera::text
