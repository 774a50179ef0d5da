#include "tessera/text/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tessera/text/unicode.h"

namespace tessera::text::jinja {
namespace {

constexpr int kMaxDepth = 100;

Status TooDeep() { return ResourceExhausted("values nest deeper than {}", kMaxDepth); }
Status TooLong() { return ResourceExhausted("the output grew over its limit"); }

void AppendStringRepr(std::string_view s, std::string* out) {
  const bool single = s.find('\'') != s.npos;
  const char quote = single && s.find('"') == s.npos ? '"' : '\'';
  out->push_back(quote);
  for (size_t pos = 0; pos < s.size();) {
    const size_t begin = pos;
    const char32_t c = NextChar(s, &pos);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out->push_back('\\');
      out->push_back(static_cast<char>(c));
    } else if (c == '\n') {
      *out += "\\n";
    } else if (c == '\r') {
      *out += "\\r";
    } else if (c == '\t') {
      *out += "\\t";
    } else if (!IsPrintable(c)) {
      const auto code = static_cast<uint32_t>(c);
      *out += code < 0x100     ? fmt::format("\\x{:02x}", code)
              : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                               : fmt::format("\\U{:08x}", code);
    } else {
      out->append(s.substr(begin, pos - begin));
    }
  }
  out->push_back(quote);
}

void AppendJsonString(std::string_view s, bool ensure_ascii, std::string* out) {
  out->push_back('"');
  for (size_t pos = 0; pos < s.size();) {
    const size_t begin = pos;
    const char32_t c = NextChar(s, &pos);
    switch (c) {
      case '"': *out += "\\\""; continue;
      case '\\': *out += "\\\\"; continue;
      case '\n': *out += "\\n"; continue;
      case '\r': *out += "\\r"; continue;
      case '\t': *out += "\\t"; continue;
      case '\f': *out += "\\f"; continue;
      case '\b': *out += "\\b"; continue;
      default: break;
    }
    const auto code = static_cast<uint32_t>(c);
    if (code < 0x20 || (ensure_ascii && code >= 0x7F && code < 0x10000 && code != 0x7F)) {
      *out += fmt::format("\\u{:04x}", code);
    } else if (ensure_ascii && code >= 0x10000) {
      *out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10),
                          0xDC00 + ((code - 0x10000) & 0x3FF));
    } else {
      out->append(s.substr(begin, pos - begin));
    }
  }
  out->push_back('"');
}

}  // namespace

std::string FloatRepr(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[64];
  const double magnitude = std::fabs(d);
  const bool scientific = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16);
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, d,
                    scientific ? std::chars_format::scientific : std::chars_format::fixed);
  std::string out(buffer, end.ptr);
  if (!scientific && out.find('.') == out.npos) out += ".0";
  return out;
}

List::List(Kind k, std::vector<Value> values) : kind(k), items(std::move(values)) {
  for (const Value& v : items) depth = std::max(depth, v.Depth() + 1);
}

int Value::Depth() const {
  if (IsList()) return list().depth;
  if (IsDict()) return dict()->depth();
  return IsCallable() ? callable()->depth : 0;
}

void Dict::Clear() {
  items_.clear();
  index_.clear();
}

std::string Dict::HashKey(const Value& key) {
  if (key.IsString()) return "s" + key.str();
  if (key.IsNone()) return "n";
  if (key.IsInt() || key.IsBool()) return fmt::format("i{}", key.AsInt());
  if (key.IsFloat()) {
    const double d = key.AsDouble();
    if (d == std::floor(d) && std::fabs(d) < 9e15) {
      return fmt::format("i{}", static_cast<int64_t>(d));
    }
    return "f" + FloatRepr(d);
  }
  if (key.IsList()) {
    std::string out = "t";
    Status ignored = key.AppendRepr(1 << 16, &out);
    return ignored.ok() ? out : out + "...";
  }
  return "";
}

const Value* Dict::Find(const Value& key) const {
  const auto it = index_.find(HashKey(key));
  return it == index_.end() ? nullptr : &items_[it->second].second;
}

const Value* Dict::Find(std::string_view key) const {
  const auto it = index_.find("s" + std::string(key));
  return it == index_.end() ? nullptr : &items_[it->second].second;
}

void Dict::Set(const Value& key, Value value) {
  depth_ = std::max({depth_, value.Depth() + 1, key.Depth() + 1});
  const auto [it, added] = index_.emplace(HashKey(key), items_.size());
  if (added) {
    items_.emplace_back(key, std::move(value));
  } else {
    items_[it->second].second = std::move(value);
  }
}

void Dict::Set(std::string_view key, Value value) {
  Set(Value::Str(std::string(key)), std::move(value));
}

Result<Value> Value::FromJson(const nlohmann::ordered_json& json, int depth) {
  using Type = nlohmann::ordered_json::value_t;
  if (depth > kMaxDepth) return TooDeep();
  switch (json.type()) {
    case Type::null: return Value();
    case Type::boolean: return Bool(json.get<bool>());
    case Type::number_integer: return Int(json.get<int64_t>());
    case Type::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
        return InvalidArgument("integer {} is over 64 bits", json.get<uint64_t>());
      }
      return Int(json.get<int64_t>());
    case Type::number_float: return Float(json.get<double>());
    case Type::string: {
      const auto& s = json.get_ref<const std::string&>();
      if (auto bad = FindInvalidUtf8(s)) {
        return InvalidArgument("a string is not valid UTF-8 at byte {}", *bad);
      }
      return Str(s);
    }
    case Type::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) {
        TESSERA_ASSIGN_OR_RETURN(Value value, FromJson(item, depth + 1));
        items.push_back(std::move(value));
      }
      return Of(std::move(items));
    }
    case Type::object: {
      auto dict = std::make_shared<Dict>();
      for (const auto& [key, item] : json.items()) {
        if (FindInvalidUtf8(key)) return InvalidArgument("a key is not valid UTF-8");
        TESSERA_ASSIGN_OR_RETURN(Value value, FromJson(item, depth + 1));
        dict->Set(key, std::move(value));
      }
      return Of(std::move(dict));
    }
    default: return InvalidArgument("the context holds a value that is not JSON");
  }
}

int64_t Value::AsInt() const {
  if (IsBool()) return std::get<bool>(data_) ? 1 : 0;
  return IsInt() ? std::get<int64_t>(data_) : 0;
}

double Value::AsDouble() const {
  return IsFloat() ? std::get<double>(data_) : static_cast<double>(AsInt());
}

bool Value::Truthy() const {
  if (IsUndefined() || IsNone()) return false;
  if (IsFloat()) return AsDouble() != 0;
  if (IsNumber()) return AsInt() != 0;
  if (IsString()) return !str().empty();
  if (IsList()) return list().kind == List::Kind::kGenerator || !items().empty();
  if (IsDict()) return !dict()->items().empty();
  return true;
}

std::string_view Value::TypeName() const {
  if (IsUndefined()) return "Undefined";
  if (IsNone()) return "NoneType";
  if (IsBool()) return "bool";
  if (IsInt()) return "int";
  if (IsFloat()) return "float";
  if (IsString()) return "str";
  if (IsList()) {
    return list().kind == List::Kind::kTuple  ? "tuple"
           : list().kind == List::Kind::kList ? "list"
                                              : "generator";
  }
  if (IsDict()) return "dict";
  return IsNamespace() ? "Namespace" : "function";
}

Status Value::AppendStr(size_t budget, std::string* out) const {
  if (IsUndefined()) return OkStatus();
  if (IsString()) {
    if (str().size() > budget) return TooLong();
    *out += str();
    return OkStatus();
  }
  return AppendRepr(budget, out);
}

Status Value::AppendRepr(size_t budget, std::string* out, int depth) const {
  const size_t limit = out->size() + budget;
  if (depth > kMaxDepth) return TooDeep();
  if (IsUndefined()) {
    *out += "Undefined";
  } else if (IsNone()) {
    *out += "None";
  } else if (IsBool()) {
    *out += AsInt() != 0 ? "True" : "False";
  } else if (IsInt()) {
    *out += fmt::format("{}", AsInt());
  } else if (IsFloat()) {
    *out += FloatRepr(AsDouble());
  } else if (IsString()) {
    AppendStringRepr(str(), out);
  } else if (IsList()) {
    const bool tuple = list().kind == List::Kind::kTuple;
    *out += tuple ? '(' : '[';
    bool first = true;
    for (const Value& item : items()) {
      if (!first) *out += ", ";
      first = false;
      if (out->size() > limit) return TooLong();
      TESSERA_RETURN_IF_ERROR(item.AppendRepr(limit - out->size(), out, depth + 1));
    }
    if (tuple && items().size() == 1) *out += ',';
    *out += tuple ? ')' : ']';
  } else if (IsDict() || IsNamespace()) {
    *out += IsNamespace() ? "<Namespace {" : "{";
    bool first = true;
    for (const auto& [key, item] : dict()->items()) {
      if (!first) *out += ", ";
      first = false;
      if (out->size() > limit) return TooLong();
      TESSERA_RETURN_IF_ERROR(key.AppendRepr(limit - out->size(), out, depth + 1));
      *out += ": ";
      if (out->size() > limit) return TooLong();
      TESSERA_RETURN_IF_ERROR(item.AppendRepr(limit - out->size(), out, depth + 1));
    }
    *out += IsNamespace() ? "}>" : "}";
  } else {
    *out += fmt::format("<function {}>", callable()->name);
  }
  return out->size() > limit ? TooLong() : OkStatus();
}

bool Equal(const Value& a, const Value& b, int depth) {
  if (depth > kMaxDepth) return false;
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsFloat() || b.IsFloat()) return a.AsDouble() == b.AsDouble();
    return a.AsInt() == b.AsInt();
  }
  if (a.IsUndefined() || b.IsUndefined()) return a.IsUndefined() && b.IsUndefined();
  if (a.IsNone() || b.IsNone()) return a.IsNone() && b.IsNone();
  if (a.IsString() && b.IsString()) return a.str() == b.str();
  if (a.IsList() && b.IsList()) {
    if (a.list().kind != b.list().kind || a.items().size() != b.items().size()) return false;
    for (size_t i = 0; i < a.items().size(); ++i) {
      if (!Equal(a.items()[i], b.items()[i], depth + 1)) return false;
    }
    return true;
  }
  if (a.IsDict() && b.IsDict()) {
    if (a.dict()->items().size() != b.dict()->items().size()) return false;
    for (const auto& [key, value] : a.dict()->items()) {
      const Value* other = b.dict()->Find(key);
      if (other == nullptr || !Equal(value, *other, depth + 1)) return false;
    }
    return true;
  }
  if (a.IsNamespace() && b.IsNamespace()) return a.dict() == b.dict();
  return a.IsCallable() && b.IsCallable() && a.callable() == b.callable();
}

Result<bool> Less(const Value& a, const Value& b, int depth) {
  if (depth > kMaxDepth) return TooDeep();
  if (a.IsUndefined()) return InvalidArgument("{}", a.message());
  if (b.IsUndefined()) return InvalidArgument("{}", b.message());
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsFloat() || b.IsFloat()) return a.AsDouble() < b.AsDouble();
    return a.AsInt() < b.AsInt();
  }
  if (a.IsString() && b.IsString()) return a.str() < b.str();
  if (a.IsList() && b.IsList()) {
    for (size_t i = 0; i < a.items().size() && i < b.items().size(); ++i) {
      if (Equal(a.items()[i], b.items()[i])) continue;
      return Less(a.items()[i], b.items()[i], depth + 1);
    }
    return a.items().size() < b.items().size();
  }
  return InvalidArgument("'<' not supported between instances of '{}' and '{}'", a.TypeName(),
                         b.TypeName());
}

Status AppendJson(const Value& value, const JsonStyle& style, size_t budget, std::string* out,
                  int depth) {
  const size_t limit = out->size() + budget;
  if (depth > kMaxDepth) return TooDeep();
  const auto line = [&](int level) {
    if (style.indent < 0) return;
    *out += '\n';
    out->append(static_cast<size_t>(style.indent) * static_cast<size_t>(level), ' ');
  };
  const auto more = [&](const Value& item) -> Status {
    if (out->size() > limit) return TooLong();
    return AppendJson(item, style, limit - out->size(), out, depth + 1);
  };
  if (value.IsNone()) {
    *out += "null";
  } else if (value.IsBool()) {
    *out += value.Truthy() ? "true" : "false";
  } else if (value.IsFloat()) {
    const double d = value.AsDouble();
    *out += std::isnan(d)   ? "NaN"
            : std::isinf(d) ? (d < 0 ? "-Infinity" : "Infinity")
                            : FloatRepr(d);
  } else if (value.IsInt()) {
    *out += fmt::format("{}", value.AsInt());
  } else if (value.IsString()) {
    AppendJsonString(value.str(), style.ensure_ascii, out);
  } else if (value.IsList() && value.list().kind != List::Kind::kGenerator) {
    if (value.items().empty()) {
      *out += "[]";
      return OkStatus();
    }
    *out += '[';
    bool first = true;
    for (const Value& item : value.items()) {
      if (!first) *out += style.item_separator;
      first = false;
      line(depth + 1);
      TESSERA_RETURN_IF_ERROR(more(item));
    }
    line(depth);
    *out += ']';
  } else if (value.IsDict()) {
    if (value.dict()->items().empty()) {
      *out += "{}";
      return OkStatus();
    }
    std::vector<std::pair<Value, Value>> sorted;
    const auto* items = &value.dict()->items();
    if (style.sort_keys) {
      sorted = *items;
      Status failed;
      std::stable_sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) {
        const auto less = Less(a.first, b.first);
        if (!less.ok()) failed = less.status();
        return less.ok() && *less;
      });
      TESSERA_RETURN_IF_ERROR(failed);
      items = &sorted;
    }
    *out += '{';
    bool first = true;
    for (const auto& [key, item] : *items) {
      if (!first) *out += style.item_separator;
      first = false;
      line(depth + 1);
      std::string name;
      if (key.IsString()) {
        name = key.str();
      } else if (key.IsNumber() || key.IsNone()) {
        TESSERA_RETURN_IF_ERROR(AppendJson(key, style, 64, &name));
      } else {
        return InvalidArgument("keys must be str, int, float, bool or None, not {}",
                               key.TypeName());
      }
      AppendJsonString(name, style.ensure_ascii, out);
      *out += style.key_separator;
      TESSERA_RETURN_IF_ERROR(more(item));
    }
    line(depth);
    *out += '}';
  } else {
    return InvalidArgument("Object of type {} is not JSON serializable", value.TypeName());
  }
  return out->size() > limit ? TooLong() : OkStatus();
}

}  // namespace tessera::text::jinja
