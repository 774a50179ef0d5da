// What stands before the weights of a GGUF file, version 2 or 3, little endian: typed key/value
// pairs and the table of tensors.
//
// Everything is checked here against the bytes at hand before anything is kept: counts, lengths,
// types, alignment, duplicate names, tensors outside the file or over one another. Keys, strings
// and arrays stay views into the file; memory grows with the bytes read, never with a count that a
// header claims. Other versions, big-endian files and arrays of arrays are refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/formats/json.h"
#include "tessera/tensor/dtype.h"
#include "tessera/tensor/gguf_blocks.h"
#include "tessera/tensor/tensor.h"

namespace tessera {

enum class GgufValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

// A scalar (count 1) or an array of scalars or strings, still as the file has it.
struct GgufValue {
  GgufValueType type = GgufValueType::kU8;  // of the elements; never kArray
  bool is_array = false;
  uint64_t count = 1;
  std::span<const std::byte> bytes;  // of the elements
};

// Typed access in the manner of JsonObject: the Or forms answer with the default when the key is
// absent and refuse a present value of another kind. Integers of every width are one kind.
class GgufMetadata {
 public:
  explicit GgufMetadata(std::string name) : name_(std::move(name)) {}

  const std::string& name() const { return name_; }  // the file, for messages
  size_t size() const { return values_.size(); }
  bool Has(std::string_view key) const { return values_.contains(key); }

  Result<int64_t> GetInt(std::string_view key, IntRange range = {}) const;
  Result<int64_t> GetIntOr(std::string_view key, int64_t otherwise, IntRange range = {}) const;
  Result<double> GetFloat(std::string_view key, FloatRange range = {}) const;
  Result<double> GetFloatOr(std::string_view key, double otherwise, FloatRange range = {}) const;
  Result<bool> GetBoolOr(std::string_view key, bool otherwise) const;
  Result<std::string_view> GetString(std::string_view key) const;
  Result<std::string_view> GetStringOr(std::string_view key, std::string_view otherwise) const;
  // Arrays; empty when absent.
  Result<std::vector<std::string_view>> GetStrings(std::string_view key) const;
  Result<std::vector<float>> GetFloats(std::string_view key) const;
  Result<std::vector<int64_t>> GetInts(std::string_view key) const;

  // False when the key is there already.
  bool Add(std::string_view key, const GgufValue& value) {
    return values_.emplace(key, value).second;
  }
  const std::map<std::string, GgufValue, std::less<>>& values() const { return values_; }

 private:
  const GgufValue* Find(std::string_view key) const;
  Status Missing(std::string_view key) const;
  Status Wrong(std::string_view key, const GgufValue& value, std::string_view accepted) const;

  std::string name_;
  std::map<std::string, GgufValue, std::less<>> values_;
};

// How a tensor's elements are stored. Types that no reader of ours decodes have neither dtype nor
// block: they are listed, and refused when asked for.
struct GgufTensorType {
  uint32_t id;
  std::string_view name;   // "Q4_K"
  int64_t weights, bytes;  // per block
  std::optional<DType> dtype;
  std::optional<GgufBlock> block;
};

struct GgufTensor {
  std::string name;
  const GgufTensorType* type = nullptr;
  Shape shape;         // slowest first, as everywhere here: [out, in]
  uint64_t begin = 0;  // in the file
  uint64_t bytes = 0;
};

struct GgufHeader {
  explicit GgufHeader(std::string name) : metadata(std::move(name)) {}
  uint32_t version = 0;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in file order
};

// `bytes` is the whole file and must outlive the result; `name` stands in messages.
Result<GgufHeader> ParseGgufHeader(std::span<const std::byte> bytes, std::string_view name);

}  // namespace tessera
