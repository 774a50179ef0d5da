#include "tessera/text/vocab.h"

#include "tessera/text/json_util.h"

namespace tessera::text {

Status Vocab::Add(std::string_view token, int32_t id) {
  if (id < 0 || id > kMaxTokenId) {
    return DataLoss("token '{}' has id {}; ids are integers from 0 to {}", token.substr(0, 100), id,
                    kMaxTokenId);
  }
  const auto index = static_cast<size_t>(id);
  if (const std::string* other = Token(id)) {
    if (*other == token) return OkStatus();
    return DataLoss("tokens '{}' and '{}' both have id {}", other->substr(0, 100),
                    token.substr(0, 100), id);
  }
  if (index >= tokens_.size()) tokens_.resize(index + 1, nullptr);
  const std::string& stored = storage_.emplace_back(token);
  tokens_[index] = &stored;
  ids_.emplace(stored, id);  // a string under two ids is found under the first
  return OkStatus();
}

}  // namespace tessera::text
