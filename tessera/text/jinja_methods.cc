// Methods of Python's str and dict, and its arithmetic, as far as chat templates use them.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "tessera/text/jinja_interpreter.h"
#include "tessera/text/jinja_strings.h"
#include "tessera/text/unicode.h"

namespace tessera::text::jinja {
namespace {

using Method = Result<Value> (*)(Interpreter&, const Value&, Arguments&);

Result<std::string> StringArgument(const Arguments& a, size_t index, std::string_view name,
                                   std::string_view method) {
  const Value* v = Argument(a, index, name);
  if (v == nullptr || !v->IsString()) {
    return InvalidArgument("{}() argument {} must be str, not {}", method, index + 1,
                           v == nullptr ? "absent" : v->TypeName());
  }
  return v->str();
}

template <bool kLeft, bool kRight>
Result<Value> Strip(Interpreter& in, const Value& self, Arguments& a) {
  const Value* chars = Argument(a, 0, "chars");
  if (chars == nullptr || chars->IsNone()) {
    return in.NewString(std::string(StripSpace(self.str(), kLeft, kRight)));
  }
  if (!chars->IsString()) return InvalidArgument("strip arg must be None or str");
  return in.NewString(std::string(StripChars(self.str(), chars->str(), kLeft, kRight)));
}

template <bool kFromRight>
Result<Value> Split(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_RETURN_IF_ERROR(CheckArguments("split()", a, 0, 2, {"sep", "maxsplit"}));
  const Value* sep = Argument(a, 0, "sep");
  const Value* max = Argument(a, 1, "maxsplit");
  if (max != nullptr && !max->IsInt()) return InvalidArgument("maxsplit must be int");
  int64_t left = max != nullptr && max->AsInt() >= 0 ? max->AsInt() : INT64_MAX;
  std::string_view s = self.str();
  std::vector<Value> out;
  if (sep == nullptr || sep->IsNone()) {
    if (kFromRight) {
      s = StripSpace(s, false, true);
      for (; !s.empty() && left > 0; --left) {
        size_t begin = s.size();
        while (begin > 0 && !IsPySpace(CharBefore(s, begin))) begin = PreviousChar(s, begin);
        out.push_back(Value::Str(std::string(s.substr(begin))));
        s = StripSpace(s.substr(0, begin), false, true);
      }
      if (!s.empty()) out.push_back(Value::Str(std::string(s)));
      std::reverse(out.begin(), out.end());
    } else {
      s = StripSpace(s, true, false);
      for (; !s.empty() && left > 0; --left) {
        size_t end = 0;
        for (size_t next = 0; end < s.size() && !IsPySpace(NextChar(s, &next));) end = next;
        out.push_back(Value::Str(std::string(s.substr(0, end))));
        s = StripSpace(s.substr(end), true, false);
      }
      if (!s.empty()) out.push_back(Value::Str(std::string(s)));
    }
  } else {
    if (!sep->IsString()) return InvalidArgument("must be str or None, not {}", sep->TypeName());
    const std::string& by = sep->str();
    if (by.empty()) return InvalidArgument("empty separator");
    for (; left > 0; --left) {
      const size_t hit = kFromRight ? s.rfind(by) : s.find(by);
      if (hit == s.npos) break;
      out.push_back(
          Value::Str(std::string(kFromRight ? s.substr(hit + by.size()) : s.substr(0, hit))));
      s = kFromRight ? s.substr(0, hit) : s.substr(hit + by.size());
    }
    out.push_back(Value::Str(std::string(s)));
    if (kFromRight) std::reverse(out.begin(), out.end());
  }
  TESSERA_RETURN_IF_ERROR(in.Charge(out.size() + self.str().size() / 64));
  return Value::Of(std::move(out));
}

Result<Value> SplitLines(Interpreter& in, const Value& self, Arguments& a) {
  const Value* keep = Argument(a, 0, "keepends");
  const bool keep_ends = keep != nullptr && keep->Truthy();
  const std::string& s = self.str();
  std::vector<Value> out;
  for (size_t begin = 0; begin < s.size();) {
    size_t pos = begin, end = s.size(), after = s.size();
    while (pos < s.size()) {
      const size_t at = pos;
      const char32_t c = NextChar(s, &pos);
      if ((c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
          c == 0x2029) {
        end = at;
        after = c == '\r' && pos < s.size() && s[pos] == '\n' ? pos + 1 : pos;
        break;
      }
    }
    out.push_back(Value::Str(s.substr(begin, (keep_ends ? after : end) - begin)));
    begin = after;
  }
  TESSERA_RETURN_IF_ERROR(in.Charge(out.size() + s.size() / 16));
  return Value::Of(std::move(out));
}

template <bool kStart>
Result<Value> StartsEnds(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_RETURN_IF_ERROR(CheckArguments(kStart ? "startswith()" : "endswith()", a, 1, 1, {}));
  const auto fits = [&](const Value& v) {
    return kStart ? self.str().starts_with(v.str()) : self.str().ends_with(v.str());
  };
  const Value& what = a.positional[0];
  if (what.IsString()) return Value::Bool(fits(what));
  if (!what.IsList() || what.list().kind != List::Kind::kTuple) {
    return InvalidArgument("{} first arg must be str or a tuple of str, not {}",
                           kStart ? "startswith" : "endswith", what.TypeName());
  }
  TESSERA_RETURN_IF_ERROR(in.Charge(what.items().size()));
  for (const Value& v : what.items()) {
    if (!v.IsString()) return InvalidArgument("tuple must contain only str");
    if (fits(v)) return Value::Bool(true);
  }
  return Value::Bool(false);
}

Result<Value> Replace(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const std::string from, StringArgument(a, 0, "old", "replace"));
  TESSERA_ASSIGN_OR_RETURN(const std::string to, StringArgument(a, 1, "new", "replace"));
  const Value* count = Argument(a, 2, "count");
  const int64_t limit = count != nullptr && count->IsInt() ? count->AsInt() : -1;
  return ReplaceString(in, self.str(), from, to, limit);
}

Result<Value> Join(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_RETURN_IF_ERROR(CheckArguments("join()", a, 1, 1, {}));
  TESSERA_ASSIGN_OR_RETURN(const auto items, in.Iterate(a.positional[0]));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].IsString()) {
      return InvalidArgument("sequence item {}: expected str instance, {} found", i,
                             items[i].TypeName());
    }
    if (i > 0) out += self.str();
    out += items[i].str();
    if (out.size() > in.max_output()) break;
  }
  return in.NewString(std::move(out));
}

template <bool kRight, bool kRaise>
Result<Value> Find(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const std::string what, StringArgument(a, 0, "sub", "find"));
  if (a.positional.size() > 1) return Unimplemented("find() with bounds is not supported");
  TESSERA_RETURN_IF_ERROR(in.Charge(self.str().size() / 64));
  const size_t hit = kRight ? self.str().rfind(what) : self.str().find(what);
  if (hit != std::string::npos) {
    return Value::Int(
        static_cast<int64_t>(CountChars(std::string_view(self.str()).substr(0, hit))));
  }
  if (kRaise) return InvalidArgument("substring not found");
  return Value::Int(-1);
}

Result<Value> Count(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const std::string what, StringArgument(a, 0, "sub", "count"));
  TESSERA_RETURN_IF_ERROR(in.Charge(self.str().size() / 64));
  if (what.empty()) return Value::Int(static_cast<int64_t>(CountChars(self.str()) + 1));
  int64_t n = 0;
  for (size_t p = 0; (p = self.str().find(what, p)) != std::string::npos; p += what.size()) ++n;
  return Value::Int(n);
}

template <bool kRight>
Result<Value> Partition(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const std::string by, StringArgument(a, 0, "sep", "partition"));
  if (by.empty()) return InvalidArgument("empty separator");
  const std::string& s = self.str();
  TESSERA_RETURN_IF_ERROR(in.Charge(s.size() / 64));
  const size_t hit = kRight ? s.rfind(by) : s.find(by);
  std::vector<Value> out;
  if (hit == s.npos) {
    const Value empty = Value::Str("");
    out = kRight ? std::vector<Value>{empty, empty, self} : std::vector<Value>{self, empty, empty};
  } else {
    out = {Value::Str(s.substr(0, hit)), Value::Str(by), Value::Str(s.substr(hit + by.size()))};
  }
  return Value::Of(std::move(out), List::Kind::kTuple);
}

template <std::string (*kMap)(std::string_view)>
Result<Value> Mapped(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_RETURN_IF_ERROR(CheckArguments("method", a, 0, 0, {}));
  return in.NewString(kMap(self.str()));
}

template <bool kPrefix>
Result<Value> Remove(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_ASSIGN_OR_RETURN(const std::string what, StringArgument(a, 0, "", "removeprefix"));
  std::string_view s = self.str();
  if (kPrefix && s.starts_with(what)) s.remove_prefix(what.size());
  if (!kPrefix && s.ends_with(what)) s.remove_suffix(what.size());
  return in.NewString(std::string(s));
}

// isdigit and relatives: every character passes, and there is one.
template <bool (*kTest)(char32_t)>
Result<Value> AllChars(Interpreter& in, const Value& self, Arguments&) {
  const std::string& s = self.str();
  TESSERA_RETURN_IF_ERROR(in.Charge(s.size() / 16));
  for (size_t pos = 0; pos < s.size();) {
    if (!kTest(NextChar(s, &pos))) return Value::Bool(false);
  }
  return Value::Bool(!s.empty());
}
bool IsDecimal(char32_t c) { return (c < 0x80 ? c >= '0' && c <= '9' : IsNumeric(c)); }
bool IsAlpha(char32_t c) {
  return c < 0x80 ? ((c | 32) >= 'a' && (c | 32) <= 'z')
                  : IsWordChar(c) && !IsNumeric(c) && !IsMark(c);
}
bool IsAlnum(char32_t c) { return IsAlpha(c) || IsNumeric(c); }

template <bool kUpper>
Result<Value> IsCase(Interpreter& in, const Value& self, Arguments&) {
  TESSERA_RETURN_IF_ERROR(in.Charge(self.str().size() / 16));
  const std::string lower = Lowercase(self.str()), upper = Uppercase(self.str());
  return Value::Bool(lower != upper && self.str() == (kUpper ? upper : lower));
}

Result<Value> Format(Interpreter& in, const Value& self, Arguments& a) {
  // "{}", "{0}" and "{name}" without format specifications.
  std::string out;
  const std::string& s = self.str();
  size_t next = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    if ((s[i] == '{' || s[i] == '}') && i + 1 < s.size() && s[i + 1] == s[i]) {
      out.push_back(s[i++]);
      continue;
    }
    if (s[i] != '{') {
      out.push_back(s[i]);
      continue;
    }
    const size_t close = s.find('}', i);
    if (close == s.npos) return InvalidArgument("expected '}}' before end of string");
    const std::string field = s.substr(i + 1, close - i - 1);
    const Value* value = nullptr;
    if (field.find_first_of(":!.[") != field.npos) {
      return Unimplemented("format() fields are names or positions, not '{}'", field.substr(0, 60));
    }
    size_t index = 0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), index);
    if (field.empty()) {
      value = next < a.positional.size() ? &a.positional[next] : nullptr;
      ++next;
    } else if (error == std::errc() && end == field.data() + field.size()) {
      value = index < a.positional.size() ? &a.positional[index] : nullptr;
    } else {
      value = Argument(a, SIZE_MAX, field);
    }
    if (value == nullptr)
      return InvalidArgument("format(): no argument for '{{{}}}'", field.substr(0, 60));
    TESSERA_RETURN_IF_ERROR(value->AppendStr(in.max_output(), &out));
    if (out.size() > in.max_output()) break;
    i = close;
  }
  return in.NewString(std::move(out));
}

template <int kSide>  // -1: ljust, 0: center, 1: rjust
Result<Value> Justify(Interpreter& in, const Value& self, Arguments& a) {
  const Value* width = Argument(a, 0, "width");
  const Value* fill = Argument(a, 1, "fillchar");
  if (width == nullptr || !width->IsInt()) return InvalidArgument("width must be int");
  const std::string with = fill != nullptr && fill->IsString() ? fill->str() : " ";
  if (CountChars(with) != 1) return InvalidArgument("the fill character must be one character");
  return in.NewString(Pad(self.str(), width->AsInt(), with, kSide, in.max_output()));
}

Result<Value> Zfill(Interpreter& in, const Value& self, Arguments& a) {
  const Value* width = Argument(a, 0, "width");
  if (width == nullptr || !width->IsInt()) return InvalidArgument("width must be int");
  std::string_view s = self.str();
  const bool sign = s.starts_with('-') || s.starts_with('+');
  std::string out =
      Pad(s.substr(sign ? 1 : 0), width->AsInt() - (sign ? 1 : 0), "0", 1, in.max_output());
  if (sign) out.insert(out.begin(), s[0]);
  return in.NewString(std::move(out));
}

constexpr std::pair<std::string_view, Method> kStringMethods[] = {
    {"strip", Strip<true, true>},
    {"lstrip", Strip<true, false>},
    {"rstrip", Strip<false, true>},
    {"split", Split<false>},
    {"rsplit", Split<true>},
    {"splitlines", SplitLines},
    {"startswith", StartsEnds<true>},
    {"endswith", StartsEnds<false>},
    {"replace", Replace},
    {"join", Join},
    {"find", Find<false, false>},
    {"rfind", Find<true, false>},
    {"index", Find<false, true>},
    {"rindex", Find<true, true>},
    {"count", Count},
    {"partition", Partition<false>},
    {"rpartition", Partition<true>},
    {"lower", Mapped<Lowercase>},
    {"upper", Mapped<Uppercase>},
    {"casefold", Mapped<Lowercase>},
    {"title", Mapped<PyTitle>},
    {"capitalize", Mapped<Capitalize>},
    {"removeprefix", Remove<true>},
    {"removesuffix", Remove<false>},
    {"isdigit", AllChars<IsDecimal>},
    {"isdecimal", AllChars<IsDecimal>},
    {"isnumeric", AllChars<IsNumeric>},
    {"isalpha", AllChars<IsAlpha>},
    {"isalnum", AllChars<IsAlnum>},
    {"isspace", AllChars<IsPySpace>},
    {"isupper", IsCase<true>},
    {"islower", IsCase<false>},
    {"format", Format},
    {"ljust", Justify<-1>},
    {"center", Justify<0>},
    {"rjust", Justify<1>},
    {"zfill", Zfill},
};

Result<Value> DictGet(Interpreter&, const Value& self, Arguments& a) {
  TESSERA_RETURN_IF_ERROR(CheckArguments("get()", a, 1, 2, {}));
  if (const Value* v = self.dict()->Find(a.positional[0])) return *v;
  return a.positional.size() > 1 ? a.positional[1] : Value();
}
template <int kWhat>  // 0: items, 1: keys, 2: values
Result<Value> DictList(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_RETURN_IF_ERROR(CheckArguments("items()", a, 0, 0, {}));
  std::vector<Value> out;
  for (const auto& [key, value] : self.dict()->items()) {
    out.push_back(kWhat == 1   ? key
                  : kWhat == 2 ? value
                               : Value::Of({key, value}, List::Kind::kTuple));
  }
  TESSERA_RETURN_IF_ERROR(in.Charge(out.size()));
  return Value::Of(std::move(out));
}
Result<Value> DictCopy(Interpreter& in, const Value& self, Arguments&) {
  TESSERA_RETURN_IF_ERROR(in.Charge(self.dict()->items().size()));
  return Value::Of(std::make_shared<Dict>(*self.dict()));
}

constexpr std::pair<std::string_view, Method> kDictMethods[] = {
    {"get", DictGet},        {"items", DictList<0>}, {"keys", DictList<1>},
    {"values", DictList<2>}, {"copy", DictCopy},
};

Result<Value> ListCount(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_RETURN_IF_ERROR(CheckArguments("count()", a, 1, 1, {}));
  TESSERA_RETURN_IF_ERROR(in.Charge(self.items().size()));
  return Value::Int(std::count_if(self.items().begin(), self.items().end(),
                                  [&](const Value& v) { return Equal(v, a.positional[0]); }));
}
Result<Value> ListIndex(Interpreter& in, const Value& self, Arguments& a) {
  TESSERA_RETURN_IF_ERROR(CheckArguments("index()", a, 1, 1, {}));
  TESSERA_RETURN_IF_ERROR(in.Charge(self.items().size()));
  for (size_t i = 0; i < self.items().size(); ++i) {
    if (Equal(self.items()[i], a.positional[0])) return Value::Int(static_cast<int64_t>(i));
  }
  return InvalidArgument("the value is not in the list");
}

constexpr std::pair<std::string_view, Method> kListMethods[] = {{"count", ListCount},
                                                                {"index", ListIndex}};

}  // namespace

std::optional<Value> FindMethod(const Value& object, std::string_view name) {
  const auto find = [&](const auto& table) -> std::optional<Value> {
    for (const auto& [key, method] : table) {
      if (key != name) continue;
      auto callable = std::make_shared<Callable>();
      callable->name = std::string(name);
      callable->depth = object.Depth() + 1;
      callable->call = [object, m = method](Interpreter& in, Arguments& arguments) {
        return m(in, object, arguments);
      };
      return Value::Of(std::move(callable));
    }
    return std::nullopt;
  };
  if (object.IsString()) return find(kStringMethods);
  if (object.IsDict()) return find(kDictMethods);
  if (object.IsList()) return find(kListMethods);
  return std::nullopt;
}

Result<Value> Arithmetic(Interpreter& in, const std::string& op, const Value& a, const Value& b) {
  const auto unsupported = [&]() -> Status {
    return InvalidArgument("unsupported operand type(s) for {}: '{}' and '{}'", op, a.TypeName(),
                           b.TypeName());
  };
  if (op == "+" && a.IsString() && b.IsString()) return in.NewString(a.str() + b.str());
  if (op == "+" && a.IsList() && b.IsList() && a.list().kind == b.list().kind) {
    TESSERA_RETURN_IF_ERROR(in.Charge(a.items().size() + b.items().size()));
    std::vector<Value> items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return Value::Of(std::move(items), a.list().kind);
  }
  if (op == "*" && (a.IsString() || a.IsList() || b.IsString() || b.IsList())) {
    const bool first = a.IsString() || a.IsList();
    const Value& seq = first ? a : b;
    const Value& count = first ? b : a;
    if (!count.IsInt() && !count.IsBool()) return unsupported();
    const auto n = static_cast<uint64_t>(std::max<int64_t>(count.AsInt(), 0));
    const size_t size = seq.IsString() ? seq.str().size() : seq.items().size();
    if (size != 0 && n > in.max_output() / size) {
      return ResourceExhausted("a repeated value grew over the limit of {}", in.max_output());
    }
    TESSERA_RETURN_IF_ERROR(in.Charge(seq.IsString() ? size * n / 64 : size * n));
    if (seq.IsString()) {
      std::string out;
      for (uint64_t i = 0; size != 0 && i < n; ++i) out += seq.str();
      return in.NewString(std::move(out));
    }
    std::vector<Value> items;
    for (uint64_t i = 0; size != 0 && i < n; ++i) {
      items.insert(items.end(), seq.items().begin(), seq.items().end());
    }
    return Value::Of(std::move(items), seq.list().kind);
  }
  if (op == "%" && a.IsString()) return PercentFormat(in, a.str(), b);
  if (!a.IsNumber() || !b.IsNumber()) return unsupported();
  if (a.IsFloat() || b.IsFloat() || op == "/" || (op == "**" && b.AsInt() < 0)) {
    const double x = a.AsDouble(), y = b.AsDouble();
    if (y == 0 && (op == "/" || op == "//" || op == "%"))
      return InvalidArgument("division by zero");
    if (op == "+") return Value::Float(x + y);
    if (op == "-") return Value::Float(x - y);
    if (op == "*") return Value::Float(x * y);
    if (op == "/") return Value::Float(x / y);
    if (op == "//") return Value::Float(std::floor(x / y));
    if (op == "**") return Value::Float(std::pow(x, y));
    double r = std::fmod(x, y);
    if (r != 0 && (r < 0) != (y < 0)) r += y;
    return Value::Float(r);
  }
  const int64_t x = a.AsInt(), y = b.AsInt();
  int64_t r = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(x, y, &r);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(x, y, &r);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(x, y, &r);
  } else if (op == "**") {
    r = 1;
    TESSERA_RETURN_IF_ERROR(in.Charge(64));
    for (int64_t base = x, e = y; e > 0; e >>= 1) {
      if (e & 1) overflow |= __builtin_mul_overflow(r, base, &r);
      if (e > 1) overflow |= __builtin_mul_overflow(base, base, &base);
    }
  } else {
    if (y == 0) return InvalidArgument("division by zero");
    if (y == -1) {
      overflow = op == "//" && x == INT64_MIN;
      r = op == "//" && !overflow ? -x : 0;
    } else {
      const int64_t q = x / y, m = x % y;
      const bool down = m != 0 && (m < 0) != (y < 0);
      r = op == "//" ? q - (down ? 1 : 0) : m + (down ? y : 0);
    }
  }
  if (overflow) return InvalidArgument("integer result of '{}' is over 64 bits", op);
  return Value::Int(r);
}

}  // namespace tessera::text::jinja
