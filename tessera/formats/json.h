// JSON from untrusted files: limits enforced while parsing, one-line errors, typed field access.
//
// Sizes, depth and the number of values are bounded before memory is spent; malformed UTF-8 and
// trailing text are errors with file name and byte offset. JsonObject reads fields; its errors say
// file, field, what was found and what is accepted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"

namespace tessera {

enum class DuplicateKeys { kLastWins, kRefuse };  // kLastWins is what Python does

struct JsonLimits {
  size_t max_bytes = size_t{64} << 20;
  size_t max_depth = 64;                // nested arrays and objects
  size_t max_values = size_t{8} << 20;  // every value, arrays and objects included
  DuplicateKeys duplicate_keys = DuplicateKeys::kLastWins;
};

// `name` is the file name used in messages.
Result<nlohmann::json> ParseJson(std::string_view text, std::string_view name,
                                 const JsonLimits& limits = {});
// Keeps the order of keys. Looking a key up is linear: iterate instead for large objects.
Result<nlohmann::ordered_json> ParseOrderedJson(std::string_view text, std::string_view name,
                                                const JsonLimits& limits = {});
Result<nlohmann::json> ReadJsonFile(const std::string& path, const JsonLimits& limits = {});
Result<nlohmann::ordered_json> ReadOrderedJsonFile(const std::string& path,
                                                   const JsonLimits& limits = {});

struct IntRange {
  int64_t min = std::numeric_limits<int64_t>::min();
  int64_t max = std::numeric_limits<int64_t>::max();
};

struct FloatRange {
  double min = std::numeric_limits<double>::lowest();
  double max = std::numeric_limits<double>::max();
};

// A JSON object, where it came from, and typed access to its fields. Refers to the json value,
// which must outlive it. The Or forms return the default when the field is absent or null (Hugging
// Face configs write null for "not set"), and still refuse a present value of the wrong kind.
class JsonObject {
 public:
  // `name`: the file, and where it helps the place inside it. Fails unless `json` is an object.
  static Result<JsonObject> Of(const nlohmann::json& json, std::string_view name);

  const std::string& name() const { return name_; }
  const nlohmann::json& json() const { return *json_; }

  bool Has(std::string_view field) const { return Find(field) != nullptr; }  // present, not null
  Result<int64_t> GetInt(std::string_view field, IntRange range = {}) const;
  Result<int64_t> GetIntOr(std::string_view field, int64_t otherwise, IntRange range = {}) const;
  Result<double> GetFloat(std::string_view field, FloatRange range = {}) const;
  Result<double> GetFloatOr(std::string_view field, double otherwise, FloatRange range = {}) const;
  Result<bool> GetBool(std::string_view field) const;
  Result<bool> GetBoolOr(std::string_view field, bool otherwise) const;
  Result<std::string> GetString(std::string_view field) const;
  Result<std::string> GetStringOr(std::string_view field, std::string_view otherwise) const;
  // An object inside this one; its fields are named "outer.inner" in messages.
  Result<JsonObject> GetObject(std::string_view field) const;
  // One integer or a list of them (eos_token_id has both forms); empty when absent.
  Result<std::vector<int64_t>> GetInts(std::string_view field, IntRange range = {}) const;
  // One string or a list of them (architectures); empty when absent.
  Result<std::vector<std::string>> GetStrings(std::string_view field) const;

 private:
  JsonObject(const nlohmann::json* json, std::string name, std::string prefix)
      : json_(json), name_(std::move(name)), prefix_(std::move(prefix)) {}
  const nlohmann::json* Find(std::string_view field) const;
  Result<const nlohmann::json*> Require(std::string_view field, std::string_view accepted) const;
  Status Wrong(std::string_view field, const nlohmann::json& got, std::string_view accepted) const;

  const nlohmann::json* json_;
  std::string name_;    // the file
  std::string prefix_;  // "" or "outer."
};

}  // namespace tessera
