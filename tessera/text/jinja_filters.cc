// Filters and tests of the template language.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "tessera/text/jinja_interpreter.h"
#include "tessera/text/jinja_strings.h"
#include "tessera/text/unicode.h"

namespace tessera::text::jinja {
namespace {

using Filter = Result<Value> (*)(Interpreter&, const Value&, Arguments&);
using Test = Result<bool> (*)(Interpreter&, const Value&, Arguments&);

#define TESSERA_REFUSE_UNDEFINED(value) \
  if ((value).IsUndefined()) return InvalidArgument("{}", (value).message())

bool BoolArgument(const Arguments& a, size_t index, std::string_view name, bool fallback) {
  const Value* v = Argument(a, index, name);
  return v == nullptr ? fallback : v->Truthy();
}

// "a.b.0" looked up step by step, as `map(attribute=...)` does.
Result<Value> Path(Interpreter& in, const Value& item, const Value& path) {
  if (path.IsInt()) return in.GetItem(item, path);
  if (!path.IsString()) return InvalidArgument("attribute must be a string or an integer");
  Value current = item;
  std::string_view rest = path.str();
  while (true) {
    const size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = error == std::errc() && end == part.data() + part.size();
    TESSERA_ASSIGN_OR_RETURN(current,
                             in.GetItem(current, number ? Value::Int(index) : Value::Str(part)));
    if (dot == rest.npos) return current;
    rest.remove_prefix(dot + 1);
  }
}

// The key by which sort, min, unique and groupby compare.
Result<Value> Key(Interpreter& in, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = item;
  if (attribute != nullptr && !attribute->IsNone()) {
    TESSERA_ASSIGN_OR_RETURN(key, Path(in, item, *attribute));
  }
  if (!case_sensitive && key.IsString()) return in.NewString(Lowercase(key.str()));
  return key;
}

Result<std::vector<Value>> Sorted(Interpreter& in, std::vector<Value> items,
                                  std::vector<Value> keys, bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  TESSERA_RETURN_IF_ERROR(in.Charge(items.size() * 16));
  // An unordered pair must not reach the sort: check a chain of all keys first.
  for (size_t i = 1; i < keys.size(); ++i) {
    const auto less = Less(keys[i - 1], keys[i]);
    if (!less.ok()) return less.status();
  }
  Status failed;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const auto less = reverse ? Less(keys[b], keys[a]) : Less(keys[a], keys[b]);
    if (!less.ok()) failed = less.status();
    return less.ok() && *less;
  });
  TESSERA_RETURN_IF_ERROR(failed);
  std::vector<Value> out;
  out.reserve(items.size());
  for (size_t i : order) out.push_back(items[i]);
  return out;
}

template <std::string (*kMap)(std::string_view)>
Result<Value> MapString(Interpreter& in, const Value& v, Arguments&) {
  TESSERA_ASSIGN_OR_RETURN(const std::string s, in.ToString(v));
  return in.NewString(kMap(s));
}

Result<Value> Trim(Interpreter& in, const Value& v, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const std::string s, in.ToString(v));
  const Value* chars = Argument(a, 0, "chars");
  if (chars == nullptr || chars->IsNone())
    return in.NewString(std::string(StripSpace(s, true, true)));
  if (!chars->IsString()) return InvalidArgument("trim: chars must be a string");
  return in.NewString(std::string(StripChars(s, chars->str(), true, true)));
}

Result<Value> Length(Interpreter&, const Value& v, Arguments&) {
  if (v.IsUndefined()) return Value::Int(0);
  if (v.IsString()) return Value::Int(static_cast<int64_t>(CountChars(v.str())));
  if (v.IsList() && v.list().kind != List::Kind::kGenerator) {
    return Value::Int(static_cast<int64_t>(v.items().size()));
  }
  if (v.IsDict()) return Value::Int(static_cast<int64_t>(v.dict()->items().size()));
  return InvalidArgument("object of type '{}' has no len()", v.TypeName());
}

Result<Value> Default(Interpreter&, const Value& v, Arguments& a) {
  const bool boolean = BoolArgument(a, 1, "boolean", false);
  if (!v.IsUndefined() && !(boolean && !v.Truthy())) return v;
  const Value* other = Argument(a, 0, "default_value");
  return other == nullptr ? Value::Str("") : *other;
}

Result<Value> ToJson(Interpreter& in, const Value& v, Arguments& a) {
  TESSERA_RETURN_IF_ERROR(
      CheckArguments("tojson", a, 0, 4, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = BoolArgument(a, 0, "ensure_ascii", false);
  const Value* indent = Argument(a, 1, "indent");
  if (indent != nullptr && !indent->IsNone()) {
    if (!indent->IsInt() || indent->AsInt() > 64)
      return InvalidArgument("tojson: indent is 0 to 64");
    style.indent = static_cast<int>(std::max<int64_t>(indent->AsInt(), 0));
    style.item_separator = ",";
  }
  const Value* separators = Argument(a, 2, "separators");
  if (separators != nullptr && !separators->IsNone()) {
    if (!separators->IsList() || separators->items().size() != 2 ||
        !separators->items()[0].IsString() || !separators->items()[1].IsString()) {
      return InvalidArgument("tojson: separators are two strings");
    }
    style.item_separator = separators->items()[0].str();
    style.key_separator = separators->items()[1].str();
  }
  style.sort_keys = BoolArgument(a, 3, "sort_keys", false);
  std::string out;
  TESSERA_RETURN_IF_ERROR(AppendJson(v, style, in.max_output(), &out));
  return in.NewString(std::move(out));
}

Result<Value> Join(Interpreter& in, const Value& v, Arguments& a) {
  const Value* by = Argument(a, 0, "d");
  const Value* attribute = Argument(a, 1, "attribute");
  std::string separator;
  if (by != nullptr) {
    TESSERA_ASSIGN_OR_RETURN(separator, in.ToString(*by));
  }
  TESSERA_ASSIGN_OR_RETURN(const auto items, in.Iterate(v));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    Value item = items[i];
    if (attribute != nullptr) {
      TESSERA_ASSIGN_OR_RETURN(item, Path(in, item, *attribute));
    }
    if (i > 0) out += separator;
    TESSERA_RETURN_IF_ERROR(item.AppendStr(in.max_output(), &out));
    if (out.size() > in.max_output()) break;
  }
  return in.NewString(std::move(out));
}

Result<Value> ToList(Interpreter& in, const Value& v, Arguments&) {
  TESSERA_ASSIGN_OR_RETURN(auto items, in.Iterate(v));
  return Value::Of(std::move(items));
}

template <bool kFirst>
Result<Value> End(Interpreter& in, const Value& v, Arguments&) {
  TESSERA_ASSIGN_OR_RETURN(const auto items, in.Iterate(v));
  if (items.empty()) {
    return Value::MakeUndefined(kFirst ? "No first item, sequence was empty."
                                       : "No last item, sequence was empty.");
  }
  return kFirst ? items.front() : items.back();
}

Result<Value> Reverse(Interpreter& in, const Value& v, Arguments&) {
  TESSERA_ASSIGN_OR_RETURN(auto items, in.Iterate(v));
  std::reverse(items.begin(), items.end());
  if (!v.IsString()) return Value::Of(std::move(items), List::Kind::kGenerator);
  std::string out;
  for (const Value& c : items) out += c.str();
  return in.NewString(std::move(out));
}

Result<Value> Sort(Interpreter& in, const Value& v, Arguments& a) {
  const bool reverse = BoolArgument(a, 0, "reverse", false);
  const bool case_sensitive = BoolArgument(a, 1, "case_sensitive", false);
  const Value* attribute = Argument(a, 2, "attribute");
  TESSERA_ASSIGN_OR_RETURN(auto items, in.Iterate(v));
  std::vector<Value> keys;
  for (const Value& item : items) {
    if (attribute != nullptr && attribute->IsString() &&
        attribute->str().find(',') != std::string::npos) {
      std::vector<Value> parts;
      std::string_view rest = attribute->str();
      for (;;) {
        const size_t comma = rest.find(',');
        const Value one = Value::Str(std::string(rest.substr(0, comma)));
        TESSERA_ASSIGN_OR_RETURN(Value key, Key(in, item, &one, case_sensitive));
        parts.push_back(std::move(key));
        if (comma == rest.npos) break;
        rest.remove_prefix(comma + 1);
      }
      keys.push_back(Value::Of(std::move(parts), List::Kind::kTuple));
      continue;
    }
    TESSERA_ASSIGN_OR_RETURN(Value key, Key(in, item, attribute, case_sensitive));
    keys.push_back(std::move(key));
  }
  TESSERA_ASSIGN_OR_RETURN(auto sorted, Sorted(in, std::move(items), std::move(keys), reverse));
  return Value::Of(std::move(sorted));
}

Result<Value> DictSort(Interpreter& in, const Value& v, Arguments& a) {
  TESSERA_REFUSE_UNDEFINED(v);
  if (!v.IsDict()) return InvalidArgument("'{}' object has no attribute 'items'", v.TypeName());
  const bool case_sensitive = BoolArgument(a, 0, "case_sensitive", false);
  const Value* by = Argument(a, 1, "by");
  const bool by_value = by != nullptr && by->IsString() && by->str() == "value";
  if (by != nullptr && !by_value && !(by->IsString() && by->str() == "key")) {
    return InvalidArgument("You can only sort by either \"key\" or \"value\"");
  }
  std::vector<Value> items, keys;
  for (const auto& [key, value] : v.dict()->items()) {
    items.push_back(Value::Of({key, value}, List::Kind::kTuple));
    TESSERA_ASSIGN_OR_RETURN(Value k, Key(in, by_value ? value : key, nullptr, case_sensitive));
    keys.push_back(std::move(k));
  }
  TESSERA_ASSIGN_OR_RETURN(auto sorted, Sorted(in, std::move(items), std::move(keys),
                                               BoolArgument(a, 2, "reverse", false)));
  return Value::Of(std::move(sorted));
}

Result<Value> Items(Interpreter& in, const Value& v, Arguments&) {
  if (v.IsUndefined()) return Value::Of({}, List::Kind::kGenerator);
  if (!v.IsDict()) return InvalidArgument("Can only get item pairs from a mapping.");
  std::vector<Value> out;
  for (const auto& [key, value] : v.dict()->items()) {
    out.push_back(Value::Of({key, value}, List::Kind::kTuple));
  }
  TESSERA_RETURN_IF_ERROR(in.Charge(out.size()));
  return Value::Of(std::move(out), List::Kind::kGenerator);
}

Result<Value> Map(Interpreter& in, const Value& v, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const auto items, in.Iterate(v));
  std::vector<Value> out;
  if (a.positional.empty()) {
    const Value* attribute = Argument(a, SIZE_MAX, "attribute");
    const Value* fallback = Argument(a, SIZE_MAX, "default");
    if (attribute == nullptr) return InvalidArgument("map requires a filter argument");
    for (const Value& item : items) {
      TESSERA_ASSIGN_OR_RETURN(Value value, Path(in, item, *attribute));
      if (value.IsUndefined() && fallback != nullptr) value = *fallback;
      out.push_back(std::move(value));
    }
  } else {
    if (!a.positional[0].IsString()) return InvalidArgument("map: the filter is named by a string");
    const std::string name = a.positional[0].str();
    Arguments rest{{a.positional.begin() + 1, a.positional.end()}, a.named};
    for (const Value& item : items) {
      Arguments copy = rest;
      TESSERA_ASSIGN_OR_RETURN(Value value, ApplyFilter(in, name, item, copy));
      out.push_back(std::move(value));
    }
  }
  return Value::Of(std::move(out), List::Kind::kGenerator);
}

template <bool kKeep, bool kAttribute>
Result<Value> Select(Interpreter& in, const Value& v, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const auto items, in.Iterate(v));
  const size_t skip = kAttribute ? 1 : 0;
  if (a.positional.size() < skip) return InvalidArgument("selectattr needs an attribute name");
  std::string test;
  Arguments rest;
  if (a.positional.size() > skip) {
    if (!a.positional[skip].IsString())
      return InvalidArgument("select: the test is named by a string");
    test = a.positional[skip].str();
    rest.positional.assign(a.positional.begin() + static_cast<ptrdiff_t>(skip) + 1,
                           a.positional.end());
    rest.named = a.named;
  }
  std::vector<Value> out;
  for (const Value& item : items) {
    Value subject = item;
    if (kAttribute) {
      TESSERA_ASSIGN_OR_RETURN(subject, Path(in, item, a.positional[0]));
    }
    bool passed = subject.Truthy();
    if (!test.empty()) {
      Arguments copy = rest;
      TESSERA_ASSIGN_OR_RETURN(passed, ApplyTest(in, test, subject, copy));
    }
    if (passed == kKeep) out.push_back(item);
  }
  return Value::Of(std::move(out), List::Kind::kGenerator);
}

template <bool kMin>
Result<Value> MinMax(Interpreter& in, const Value& v, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const auto items, in.Iterate(v));
  if (items.empty()) return Value::MakeUndefined("No aggregated item, sequence was empty.");
  const bool case_sensitive = BoolArgument(a, 0, "case_sensitive", false);
  const Value* attribute = Argument(a, 1, "attribute");
  Value best = items[0];
  TESSERA_ASSIGN_OR_RETURN(Value best_key, Key(in, best, attribute, case_sensitive));
  for (size_t i = 1; i < items.size(); ++i) {
    TESSERA_ASSIGN_OR_RETURN(Value key, Key(in, items[i], attribute, case_sensitive));
    TESSERA_ASSIGN_OR_RETURN(const bool better, kMin ? Less(key, best_key) : Less(best_key, key));
    if (better) best = items[i], best_key = std::move(key);
  }
  return best;
}

Result<Value> Unique(Interpreter& in, const Value& v, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const auto items, in.Iterate(v));
  const bool case_sensitive = BoolArgument(a, 0, "case_sensitive", false);
  const Value* attribute = Argument(a, 1, "attribute");
  Dict seen;
  std::vector<Value> out;
  for (const Value& item : items) {
    TESSERA_ASSIGN_OR_RETURN(const Value key, Key(in, item, attribute, case_sensitive));
    if (seen.Find(key) != nullptr) continue;
    seen.Set(key, Value());
    out.push_back(item);
  }
  return Value::Of(std::move(out), List::Kind::kGenerator);
}

Result<Value> GroupBy(Interpreter& in, const Value& v, Arguments& a) {
  const Value* attribute = Argument(a, 0, "attribute");
  const Value* fallback = Argument(a, 1, "default");
  const bool case_sensitive = BoolArgument(a, 2, "case_sensitive", false);
  if (attribute == nullptr) return InvalidArgument("groupby needs an attribute");
  TESSERA_ASSIGN_OR_RETURN(auto items, in.Iterate(v));
  std::vector<Value> keys;
  for (const Value& item : items) {
    TESSERA_ASSIGN_OR_RETURN(Value key, Path(in, item, *attribute));
    if (key.IsUndefined() && fallback != nullptr) key = *fallback;
    if (!case_sensitive && key.IsString()) key = Value::Str(Lowercase(key.str()));
    keys.push_back(Value::Of({key, item}, List::Kind::kTuple));
  }
  std::vector<Value> only;
  for (const Value& k : keys) only.push_back(k.items()[0]);
  TESSERA_ASSIGN_OR_RETURN(const auto sorted, Sorted(in, std::move(keys), std::move(only), false));
  std::vector<Value> out;
  for (size_t i = 0; i < sorted.size();) {
    std::vector<Value> group;
    const Value& key = sorted[i].items()[0];
    size_t j = i;
    for (; j < sorted.size() && Equal(sorted[j].items()[0], key); ++j) {
      group.push_back(sorted[j].items()[1]);
    }
    TESSERA_ASSIGN_OR_RETURN(Value shown, Path(in, group[0], *attribute));
    if (shown.IsUndefined() && fallback != nullptr) shown = *fallback;
    out.push_back(Value::Of({shown, Value::Of(std::move(group))}, List::Kind::kTuple));
    i = j;
  }
  return Value::Of(std::move(out));
}

Result<Value> Sum(Interpreter& in, const Value& v, Arguments& a) {
  const Value* attribute = Argument(a, 0, "attribute");
  const Value* start = Argument(a, 1, "start");
  TESSERA_ASSIGN_OR_RETURN(const auto items, in.Iterate(v));
  Value total = start == nullptr ? Value::Int(0) : *start;
  for (const Value& item : items) {
    Value value = item;
    if (attribute != nullptr && !attribute->IsNone()) {
      TESSERA_ASSIGN_OR_RETURN(value, Path(in, item, *attribute));
    }
    TESSERA_REFUSE_UNDEFINED(value);
    TESSERA_ASSIGN_OR_RETURN(total, Arithmetic(in, "+", total, value));
  }
  return total;
}

Result<Value> Replace(Interpreter& in, const Value& v, Arguments& a) {
  const Value* from = Argument(a, 0, "old");
  const Value* to = Argument(a, 1, "new");
  const Value* count = Argument(a, 2, "count");
  if (from == nullptr || to == nullptr) return InvalidArgument("replace needs old and new");
  TESSERA_ASSIGN_OR_RETURN(const std::string s, in.ToString(v));
  TESSERA_ASSIGN_OR_RETURN(const std::string old_text, in.ToString(*from));
  TESSERA_ASSIGN_OR_RETURN(const std::string new_text, in.ToString(*to));
  return ReplaceString(in, s, old_text, new_text,
                       count != nullptr && count->IsInt() ? count->AsInt() : -1);
}

Result<Value> Indent(Interpreter& in, const Value& v, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const std::string s, in.ToString(v));
  const Value* width = Argument(a, 0, "width");
  std::string by(4, ' ');
  if (width != nullptr && width->IsString()) {
    by = width->str();
  } else if (width != nullptr && width->IsInt()) {
    by.assign(static_cast<size_t>(std::clamp<int64_t>(width->AsInt(), 0, 10000)), ' ');
  }
  const bool first = BoolArgument(a, 1, "first", false);
  const bool blank = BoolArgument(a, 2, "blank", false);
  std::string out;
  bool is_first = true;
  for (size_t pos = 0; pos <= s.size();) {
    const size_t end = std::min(s.find('\n', pos), s.size());
    const std::string_view line = std::string_view(s).substr(pos, end - pos);
    if (!is_first) out += '\n';
    if (is_first ? first : (blank || !line.empty())) out += by;
    is_first = false;
    out += line;
    if (out.size() > in.max_output()) break;
    pos = end + 1;
  }
  return in.NewString(std::move(out));
}

Result<Value> ToInt(Interpreter&, const Value& v, Arguments& a) {
  const Value* fallback = Argument(a, 0, "default");
  const Value other = fallback == nullptr ? Value::Int(0) : *fallback;
  TESSERA_REFUSE_UNDEFINED(v);
  if (v.IsFloat()) {
    const double d = v.AsDouble();
    return d > -9.2e18 && d < 9.2e18 ? Value::Int(static_cast<int64_t>(d)) : other;
  }
  if (v.IsNumber()) return Value::Int(v.AsInt());
  if (!v.IsString()) return other;
  std::string_view s = StripSpace(v.str(), true, true);
  if (s.starts_with('+')) s.remove_prefix(1);
  int64_t value = 0;
  const Value* base = Argument(a, 1, "base");
  const int64_t radix = base != nullptr && base->IsInt() ? base->AsInt() : 10;
  if (radix < 2 || radix > 36) return InvalidArgument("int: base is 2 to 36");
  if (radix == 16 && (s.starts_with("0x") || s.starts_with("0X"))) s.remove_prefix(2);
  auto parsed = std::from_chars(s.data(), s.data() + s.size(), value, static_cast<int>(radix));
  if (parsed.ec == std::errc() && parsed.ptr == s.data() + s.size()) return Value::Int(value);
  double d = 0;
  const auto real = std::from_chars(s.data(), s.data() + s.size(), d);
  if (real.ec == std::errc() && real.ptr == s.data() + s.size() && std::fabs(d) < 9.2e18) {
    return Value::Int(static_cast<int64_t>(d));
  }
  return other;
}

Result<Value> ToFloat(Interpreter&, const Value& v, Arguments& a) {
  const Value* fallback = Argument(a, 0, "default");
  TESSERA_REFUSE_UNDEFINED(v);
  if (v.IsNumber()) return Value::Float(v.AsDouble());
  if (v.IsString()) {
    std::string_view s = StripSpace(v.str(), true, true);
    if (s.starts_with('+')) s.remove_prefix(1);
    double d = 0;
    const auto real = std::from_chars(s.data(), s.data() + s.size(), d);
    if (real.ec == std::errc() && real.ptr == s.data() + s.size()) return Value::Float(d);
  }
  return fallback == nullptr ? Value::Float(0.0) : *fallback;
}

Result<Value> Abs(Interpreter&, const Value& v, Arguments&) {
  TESSERA_REFUSE_UNDEFINED(v);
  if (v.IsFloat()) return Value::Float(std::fabs(v.AsDouble()));
  if (!v.IsNumber() || v.AsInt() == INT64_MIN) {
    return InvalidArgument("bad operand type for abs(): '{}'", v.TypeName());
  }
  return Value::Int(std::abs(v.AsInt()));
}

Result<Value> Round(Interpreter&, const Value& v, Arguments& a) {
  const Value* precision = Argument(a, 0, "precision");
  const Value* method = Argument(a, 1, "method");
  TESSERA_REFUSE_UNDEFINED(v);
  if (!v.IsNumber()) return InvalidArgument("round: '{}' is no number", v.TypeName());
  const int64_t digits = precision != nullptr && precision->IsInt() ? precision->AsInt() : 0;
  if (digits < -300 || digits > 300) return InvalidArgument("round: precision is -300 to 300");
  const std::string how = method != nullptr && method->IsString() ? method->str() : "common";
  if (how == "common") {
    if (!v.IsFloat()) return v;
    if (digits < 0) {
      const double scale = std::pow(10.0, static_cast<double>(-digits));
      return Value::Float(std::nearbyint(v.AsDouble() / scale) * scale);
    }
    const std::string text = fmt::format("{:.{}f}", v.AsDouble(), digits);
    double d = 0;
    std::from_chars(text.data(), text.data() + text.size(), d);
    return Value::Float(d);
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  if (how == "ceil") return Value::Float(std::ceil(v.AsDouble() * scale) / scale);
  if (how == "floor") return Value::Float(std::floor(v.AsDouble() * scale) / scale);
  return InvalidArgument("round: method must be common, ceil or floor");
}

Result<Value> ToString(Interpreter& in, const Value& v, Arguments&) {
  TESSERA_ASSIGN_OR_RETURN(std::string s, in.ToString(v));
  return in.NewString(std::move(s));
}

Result<Value> Escape(Interpreter& in, const Value& v, Arguments&) {
  TESSERA_ASSIGN_OR_RETURN(const std::string s, in.ToString(v));
  std::string out;
  for (char c : s) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return in.NewString(std::move(out));
}

Result<Value> Attr(Interpreter& in, const Value& v, Arguments& a) {
  const Value* name = Argument(a, 0, "name");
  if (name == nullptr || !name->IsString()) return InvalidArgument("attr needs a name");
  if (v.IsDict()) {  // attributes only, never items
    if (auto method = FindMethod(v, name->str())) return *std::move(method);
    return Value::MakeUndefined(fmt::format("'dict object' has no attribute '{}'", name->str()));
  }
  return in.GetAttribute(v, name->str());
}

Result<Value> Batch(Interpreter& in, const Value& v, Arguments& a) {
  const Value* count = Argument(a, 0, "linecount");
  const Value* fill = Argument(a, 1, "fill_with");
  if (count == nullptr || !count->IsInt() || count->AsInt() < 1 || count->AsInt() > 1000000) {
    return InvalidArgument("batch: linecount is 1 to 1000000");
  }
  TESSERA_ASSIGN_OR_RETURN(const auto items, in.Iterate(v));
  const auto n = static_cast<size_t>(count->AsInt());
  std::vector<Value> out;
  for (size_t i = 0; i < items.size(); i += n) {
    std::vector<Value> row(items.begin() + static_cast<ptrdiff_t>(i),
                           items.begin() + static_cast<ptrdiff_t>(std::min(i + n, items.size())));
    if (fill != nullptr && !fill->IsNone()) {
      TESSERA_RETURN_IF_ERROR(in.Charge(n));
      row.resize(n, *fill);
    }
    out.push_back(Value::Of(std::move(row)));
  }
  return Value::Of(std::move(out), List::Kind::kGenerator);
}

Result<Value> Format(Interpreter& in, const Value& v, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const std::string s, in.ToString(v));
  if (!a.named.empty()) {
    auto dict = std::make_shared<Dict>();
    for (const auto& [key, value] : a.named) dict->Set(key, value);
    return PercentFormat(in, s, Value::Of(std::move(dict)));
  }
  return PercentFormat(in, s, Value::Of(a.positional, List::Kind::kTuple));
}

Result<Value> Center(Interpreter& in, const Value& v, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const std::string s, in.ToString(v));
  const Value* width = Argument(a, 0, "width");
  const int64_t w = width != nullptr && width->IsInt() ? width->AsInt() : 80;
  return in.NewString(Pad(s, w, " ", 0, in.max_output()));
}

Result<Value> WordCount(Interpreter& in, const Value& v, Arguments&) {
  TESSERA_ASSIGN_OR_RETURN(const std::string s, in.ToString(v));
  int64_t count = 0;
  bool inside = false;
  for (size_t pos = 0; pos < s.size();) {
    const bool word = IsWordChar(NextChar(s, &pos));
    count += word && !inside;
    inside = word;
  }
  return Value::Int(count);
}

std::string TitleFilter(std::string_view s) {  // a word begins after space, '-' or a bracket
  std::string out;
  bool start = true;
  for (size_t pos = 0; pos < s.size();) {
    const size_t begin = pos;
    const char32_t c = NextChar(s, &pos);
    const std::string_view one = s.substr(begin, pos - begin);
    out += start ? Uppercase(one) : Lowercase(one);
    start = IsPySpace(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) !=
                                             std::string_view::npos);
  }
  return out;
}

constexpr std::pair<std::string_view, Filter> kFilters[] = {
    {"abs", Abs},
    {"attr", Attr},
    {"batch", Batch},
    {"capitalize", MapString<Capitalize>},
    {"center", Center},
    {"count", Length},
    {"d", Default},
    {"default", Default},
    {"dictsort", DictSort},
    {"e", Escape},
    {"escape", Escape},
    {"first", End<true>},
    {"float", ToFloat},
    {"format", Format},
    {"groupby", GroupBy},
    {"indent", Indent},
    {"int", ToInt},
    {"items", Items},
    {"join", Join},
    {"last", End<false>},
    {"length", Length},
    {"list", ToList},
    {"lower", MapString<Lowercase>},
    {"map", Map},
    {"max", MinMax<false>},
    {"min", MinMax<true>},
    {"reject", Select<false, false>},
    {"rejectattr", Select<false, true>},
    {"replace", Replace},
    {"reverse", Reverse},
    {"round", Round},
    {"safe", ToString},
    {"select", Select<true, false>},
    {"selectattr", Select<true, true>},
    {"sort", Sort},
    {"string", ToString},
    {"sum", Sum},
    {"title", MapString<TitleFilter>},
    {"tojson", ToJson},
    {"trim", Trim},
    {"unique", Unique},
    {"upper", MapString<Uppercase>},
    {"wordcount", WordCount},
};

template <int kRemainder>
Result<bool> Parity(Interpreter&, const Value& v, Arguments&) {
  TESSERA_REFUSE_UNDEFINED(v);
  if (!v.IsNumber()) return InvalidArgument("'{}' is no number", v.TypeName());
  if (v.IsFloat()) return std::fabs(std::fmod(v.AsDouble(), 2)) == kRemainder;
  return std::abs(v.AsInt() % 2) == kRemainder;
}

// Comparison tests: kSwap compares the argument with the value; kNegate turns < into >=.
template <bool kSwap, bool kNegate>
Result<bool> Order(Interpreter&, const Value& v, Arguments& a) {
  if (a.positional.size() != 1) return InvalidArgument("the test takes one argument");
  TESSERA_ASSIGN_OR_RETURN(const bool less,
                           kSwap ? Less(a.positional[0], v) : Less(v, a.positional[0]));
  return less != kNegate;
}

template <bool kSame>
Result<bool> Equality(Interpreter&, const Value& v, Arguments& a) {
  if (a.positional.size() != 1) return InvalidArgument("the test takes one argument");
  return Equal(v, a.positional[0]) == kSame;
}

Result<bool> In(Interpreter& in, const Value& v, Arguments& a) {
  if (a.positional.size() != 1) return InvalidArgument("the test takes one argument");
  const Value& container = a.positional[0];
  if (container.IsString() && v.IsString())
    return container.str().find(v.str()) != std::string::npos;
  TESSERA_ASSIGN_OR_RETURN(const auto items, in.Iterate(container));
  return std::any_of(items.begin(), items.end(), [&](const Value& i) { return Equal(i, v); });
}

bool SameObject(const Value& a, const Value& b) {
  if (a.IsList() && b.IsList()) return &a.list() == &b.list();
  if (a.IsDict() && b.IsDict()) return a.dict() == b.dict();
  return a.TypeName() == b.TypeName() && Equal(a, b);
}

template <bool (*kCheck)(const Value&)>
Result<bool> Is(Interpreter&, const Value& v, Arguments&) {
  return kCheck(v);
}

constexpr std::pair<std::string_view, Test> kTests[] = {
    {"boolean", Is<[](const Value& v) { return v.IsBool(); }>},
    {"callable", Is<[](const Value& v) { return v.IsCallable(); }>},
    {"defined", Is<[](const Value& v) { return !v.IsUndefined(); }>},
    {"undefined", Is<[](const Value& v) { return v.IsUndefined(); }>},
    {"none", Is<[](const Value& v) { return v.IsNone(); }>},
    {"string", Is<[](const Value& v) { return v.IsString(); }>},
    {"number", Is<[](const Value& v) { return v.IsNumber(); }>},
    {"integer", Is<[](const Value& v) { return v.IsInt(); }>},
    {"float", Is<[](const Value& v) { return v.IsFloat(); }>},
    {"mapping", Is<[](const Value& v) { return v.IsDict(); }>},
    {"true", Is<[](const Value& v) { return v.IsBool() && v.Truthy(); }>},
    {"false", Is<[](const Value& v) { return v.IsBool() && !v.Truthy(); }>},
    {"iterable", Is<[](const Value& v) {
       return v.IsList() || v.IsDict() || v.IsString() || v.IsUndefined();
     }>},
    {"sequence", Is<[](const Value& v) {
       return (v.IsList() && v.list().kind != List::Kind::kGenerator) || v.IsDict() ||
              v.IsString() || v.IsUndefined();
     }>},
    {"escaped", Is<[](const Value&) { return false; }>},
    {"lower", Is<[](const Value& v) {
       return v.IsString() && v.str() == Lowercase(v.str()) && v.str() != Uppercase(v.str());
     }>},
    {"upper", Is<[](const Value& v) {
       return v.IsString() && v.str() == Uppercase(v.str()) && v.str() != Lowercase(v.str());
     }>},
    {"filter", Is<[](const Value& v) { return v.IsString() && FilterExists(v.str()); }>},
    {"test", Is<[](const Value& v) { return v.IsString() && TestExists(v.str()); }>},
    {"odd", Parity<1>},
    {"even", Parity<0>},
    {"in", In},
    {"divisibleby",
     [](Interpreter& in, const Value& v, Arguments& a) -> Result<bool> {
       if (a.positional.size() != 1) return InvalidArgument("the test takes one argument");
       TESSERA_REFUSE_UNDEFINED(v);
       TESSERA_ASSIGN_OR_RETURN(const Value r, Arithmetic(in, "%", v, a.positional[0]));
       return Equal(r, Value::Int(0));
     }},
    {"sameas",
     [](Interpreter&, const Value& v, Arguments& a) -> Result<bool> {
       if (a.positional.size() != 1) return InvalidArgument("the test takes one argument");
       return SameObject(v, a.positional[0]);
     }},
    {"==", Equality<true>},
    {"eq", Equality<true>},
    {"equalto", Equality<true>},
    {"!=", Equality<false>},
    {"ne", Equality<false>},
    {"<", Order<false, false>},
    {"lt", Order<false, false>},
    {"lessthan", Order<false, false>},
    {">=", Order<false, true>},
    {"ge", Order<false, true>},
    {">", Order<true, false>},
    {"gt", Order<true, false>},
    {"greaterthan", Order<true, false>},
    {"<=", Order<true, true>},
    {"le", Order<true, true>},
};

}  // namespace

Result<Value> ApplyFilter(Interpreter& in, const std::string& name, const Value& value,
                          Arguments& arguments) {
  TESSERA_RETURN_IF_ERROR(in.Charge(1));
  for (const auto& [key, filter] : kFilters) {
    if (key == name) return filter(in, value, arguments);
  }
  return Unimplemented("No filter named '{}'.", name);
}

Result<bool> ApplyTest(Interpreter& in, const std::string& name, const Value& value,
                       Arguments& arguments) {
  TESSERA_RETURN_IF_ERROR(in.Charge(1));
  for (const auto& [key, test] : kTests) {
    if (key == name) return test(in, value, arguments);
  }
  return Unimplemented("No test named '{}'.", name);
}

bool FilterExists(std::string_view name) {
  return std::any_of(std::begin(kFilters), std::end(kFilters),
                     [&](const auto& f) { return f.first == name; });
}

bool TestExists(std::string_view name) {
  return std::any_of(std::begin(kTests), std::end(kTests),
                     [&](const auto& t) { return t.first == name; });
}

}  // namespace tessera::text::jinja
