// Reading of JSON objects without exceptions: every accessor answers with a default or a Status.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "tessera/base/status.h"

namespace tessera::text {

// Member `key` of an object; null when absent or when `object` is not an object.
template <typename Json>
const Json& Member(const Json& object, std::string_view key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(std::string(key));
  return it == object.end() ? kNull : *it;
}

template <typename Json>
std::string StringOr(const Json& object, std::string_view key, std::string_view fallback) {
  const Json& value = Member(object, key);
  return value.is_string() ? value.template get_ref<const std::string&>() : std::string(fallback);
}

template <typename Json>
bool BoolOr(const Json& object, std::string_view key, bool fallback) {
  const Json& value = Member(object, key);
  return value.is_boolean() ? value.template get<bool>() : fallback;
}

// A token id: an integer from 0 to `kMaxTokenId`. The limit keeps a hostile vocabulary with one
// huge id from costing gigabytes.
inline constexpr int64_t kMaxTokenId = (int64_t{1} << 22) - 1;

template <typename Json>
Result<int32_t> TokenIdFrom(const Json& value, std::string_view token) {
  if (value.is_number_unsigned() && value.template get<uint64_t>() <= uint64_t{kMaxTokenId}) {
    return static_cast<int32_t>(value.template get<uint64_t>());
  }
  if (value.is_number_integer() && !value.is_number_unsigned()) {
    const int64_t id = value.template get<int64_t>();
    if (id >= 0 && id <= kMaxTokenId) return static_cast<int32_t>(id);
  }
  return DataLoss("token '{}' has id {}; ids are integers from 0 to {}", token.substr(0, 100),
                  value.is_number() ? value.dump() : "of another type", kMaxTokenId);
}

}  // namespace tessera::text
