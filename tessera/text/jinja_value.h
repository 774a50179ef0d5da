// Values of the Jinja subset: what Python would hold while a chat template runs.
//
// Owns the value type, Python's truth, equality, ordering, str(), repr() and json.dumps. Lists and
// dicts are shared by reference, as in Python; dicts keep insertion order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "tessera/base/status.h"

namespace tessera::text::jinja {

class Value;
class Interpreter;

struct Undefined {
  std::string message;  // what an operation on it reports
};
struct None {};

using Kwargs = std::vector<std::pair<std::string, Value>>;
struct Arguments;

struct List {
  enum class Kind { kList, kTuple, kGenerator };
  List(Kind k, std::vector<Value> values);
  Kind kind = Kind::kList;
  std::vector<Value> items;
  int depth = 1;
};

class Dict {
 public:
  // Null when absent or when the key is not hashable.
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
  void Set(const Value& key, Value value);
  void Set(std::string_view key, Value value);
  void Clear();
  const std::vector<std::pair<Value, Value>>& items() const { return items_; }
  int depth() const { return depth_; }

 private:
  static std::string HashKey(const Value& key);
  std::vector<std::pair<Value, Value>> items_;
  std::unordered_map<std::string, size_t> index_;
  int depth_ = 1;
};

struct Callable {
  std::string name;
  std::function<Result<Value>(Interpreter&, Arguments&)> call;
  // loop.index and the like; may be empty.
  std::function<std::optional<Value>(std::string_view)> attribute;
  int depth = 1;  // of the values it holds
};

class Value {
 public:
  using Variant =
      std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                   std::shared_ptr<List>, std::shared_ptr<Dict>, std::shared_ptr<Callable>>;

  Value() : data_(None{}) {}
  static Value MakeUndefined(std::string message) {
    return Value(Variant(Undefined{std::move(message)}));
  }
  static Value Bool(bool b) { return Value(Variant(b)); }
  static Value Int(int64_t i) { return Value(Variant(i)); }
  static Value Float(double d) { return Value(Variant(d)); }
  static Value Str(std::string s) {
    return Value(Variant(std::make_shared<const std::string>(std::move(s))));
  }
  static Value Of(std::vector<Value> items, List::Kind kind = List::Kind::kList) {
    return Value(Variant(std::make_shared<List>(kind, std::move(items))));
  }
  static Value Of(std::shared_ptr<List> list) { return Value(Variant(std::move(list))); }
  static Value Of(std::shared_ptr<Dict> dict) { return Value(Variant(std::move(dict))); }
  static Value Of(std::shared_ptr<Callable> callable) {
    return Value(Variant(std::move(callable)));
  }
  // A namespace() object: a dict whose attributes templates may set.
  static Value Namespace(std::shared_ptr<Dict> dict) {
    Value v{Variant(std::move(dict))};
    v.is_namespace_ = true;
    return v;
  }
  // Integers over int64 and depth beyond what `ParseOrderedJson` accepts are errors.
  static Result<Value> FromJson(const nlohmann::ordered_json& json, int depth = 0);

  bool IsUndefined() const { return std::holds_alternative<Undefined>(data_); }
  bool IsNone() const { return std::holds_alternative<None>(data_); }
  bool IsBool() const { return std::holds_alternative<bool>(data_); }
  bool IsInt() const { return std::holds_alternative<int64_t>(data_); }
  bool IsFloat() const { return std::holds_alternative<double>(data_); }
  bool IsNumber() const { return IsInt() || IsFloat() || IsBool(); }
  bool IsString() const {
    return std::holds_alternative<std::shared_ptr<const std::string>>(data_);
  }
  bool IsList() const { return std::holds_alternative<std::shared_ptr<List>>(data_); }
  bool IsDict() const {
    return std::holds_alternative<std::shared_ptr<Dict>>(data_) && !is_namespace_;
  }
  bool IsNamespace() const { return is_namespace_; }
  bool IsCallable() const { return std::holds_alternative<std::shared_ptr<Callable>>(data_); }

  const std::string& message() const { return std::get<Undefined>(data_).message; }
  const std::string& str() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  const List& list() const { return *std::get<std::shared_ptr<List>>(data_); }
  const std::vector<Value>& items() const { return list().items; }
  const std::shared_ptr<Dict>& dict() const { return std::get<std::shared_ptr<Dict>>(data_); }
  const std::shared_ptr<Callable>& callable() const {
    return std::get<std::shared_ptr<Callable>>(data_);
  }
  int64_t AsInt() const;    // of an int or bool
  double AsDouble() const;  // of any number

  // How deep values nest inside this one. Bounded by the interpreter, because destroying a value
  // recurses. A namespace counts as flat: the interpreter keeps and empties all of them.
  int Depth() const;

  bool Truthy() const;
  std::string_view TypeName() const;  // Python's

  // Python's str() and repr(), appended. `budget` bounds the bytes written.
  Status AppendStr(size_t budget, std::string* out) const;
  Status AppendRepr(size_t budget, std::string* out, int depth = 0) const;

 private:
  explicit Value(Variant data) : data_(std::move(data)) {}
  Variant data_;
  bool is_namespace_ = false;
};

struct Arguments {
  std::vector<Value> positional;
  Kwargs named;
};

bool Equal(const Value& a, const Value& b, int depth = 0);

// a < b as Python orders them; an error for types without an order.
Result<bool> Less(const Value& a, const Value& b, int depth = 0);

struct JsonStyle {
  int indent = -1;  // negative: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
  bool ensure_ascii = false;
};
Status AppendJson(const Value& value, const JsonStyle& style, size_t budget, std::string* out,
                  int depth = 0);

std::string FloatRepr(double d);  // Python's repr of a float

}  // namespace tessera::text::jinja
