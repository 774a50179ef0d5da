// Token strings by id and ids by string.
//
// Owns the two-way table of one model. Refuses two tokens with one id and ids over kMaxTokenId;
// gaps are allowed and have no string.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tessera/base/status.h"

namespace tessera::text {

class Vocab {
 public:
  // Adding the same pair twice changes nothing.
  Status Add(std::string_view token, int32_t id);

  std::optional<int32_t> Find(std::string_view token) const {
    const auto it = ids_.find(token);
    if (it == ids_.end()) return std::nullopt;
    return it->second;
  }

  // Null for a gap or an id out of range.
  const std::string* Token(int32_t id) const {
    if (id < 0 || static_cast<size_t>(id) >= tokens_.size()) return nullptr;
    return tokens_[static_cast<size_t>(id)];
  }

  // One past the largest id.
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }

 private:
  std::deque<std::string> storage_;
  std::vector<const std::string*> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;
};

}  // namespace tessera::text
