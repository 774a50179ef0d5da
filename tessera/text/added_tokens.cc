#include "tessera/text/added_tokens.h"

#include <algorithm>

#include "tessera/text/unicode.h"

namespace tessera::text {
namespace {

constexpr size_t kMaxContent = 4096;

}  // namespace

int32_t AddedTokenMatcher::Child(int32_t node, unsigned char byte) const {
  for (int32_t c = nodes_[node].child; c >= 0; c = nodes_[c].sibling) {
    if (nodes_[c].byte == byte) return c;
  }
  return -1;
}

Status AddedTokenMatcher::Add(const AddedToken& token, std::string_view pattern) {
  if (pattern.empty()) return OkStatus();  // never found, as in the reference
  if (pattern.size() > kMaxContent) {
    return ResourceExhausted("added token {} has {} bytes; the limit is {}", token.id,
                             pattern.size(), kMaxContent);
  }
  int32_t node = 0;
  for (char c : pattern) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t next = node == 0 ? (root_[byte] > 0 ? root_[byte] : -1) : Child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({-1, node == 0 ? -1 : nodes_[node].child, -1, byte});
      if (node == 0) {
        root_[byte] = next;
      } else {
        nodes_[node].child = next;
      }
    }
    node = next;
  }
  if (nodes_[node].token < 0) {
    nodes_[node].token = static_cast<int32_t>(tokens_.size());
    tokens_.push_back(token);
  }
  return OkStatus();
}

void AddedTokenMatcher::Split(std::string_view text, bool parse_special,
                              std::vector<Piece>* out) const {
  size_t done = 0;
  for (size_t pos = 0; pos < text.size();) {
    int32_t node = root_[static_cast<unsigned char>(text[pos])];
    if (node == 0) {
      ++pos;
      continue;
    }
    int32_t best = -1;
    size_t best_end = 0;
    for (size_t i = pos + 1;; ++i) {
      if (nodes_[node].token >= 0) best = nodes_[node].token, best_end = i;
      if (i == text.size()) break;
      node = Child(node, static_cast<unsigned char>(text[i]));
      if (node < 0) break;
    }
    if (best < 0) {
      ++pos;
      continue;
    }
    size_t begin = pos, end = best_end;
    pos = best_end;  // a match that a flag refuses is still passed over
    const AddedToken& token = tokens_[best];
    if (token.special && !parse_special) continue;
    if (token.single_word) {
      size_t next = end;
      if (begin > 0 && IsWordChar(CharBefore(text, begin))) continue;
      if (end < text.size() && IsWordChar(NextChar(text, &next))) continue;
    }
    if (token.lstrip) {
      while (begin > done && IsWhiteSpace(CharBefore(text, begin))) {
        --begin;
        while ((static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
      }
    }
    if (token.rstrip) {
      for (size_t next = end; next < text.size() && IsWhiteSpace(NextChar(text, &next));)
        end = next;
    }
    if (done < begin) out->push_back({{done, begin}, std::nullopt});
    out->push_back({{begin, end}, token.id});
    done = std::max(done, end);
  }
  if (done < text.size()) out->push_back({{done, text.size()}, std::nullopt});
}

}  // namespace tessera::text
