#include "tessera/text/jinja_strings.h"

#include <algorithm>

#include "tessera/text/unicode.h"

namespace tessera::text::jinja {

bool IsPySpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); }

size_t PreviousChar(std::string_view s, size_t end) {
  --end;
  while (end > 0 && (static_cast<unsigned char>(s[end]) & 0xC0) == 0x80) --end;
  return end;
}

std::string_view StripSpace(std::string_view s, bool left, bool right) {
  size_t begin = 0, end = s.size();
  for (size_t next = 0; left && begin < end && IsPySpace(NextChar(s, &next));) begin = next;
  while (right && end > begin && IsPySpace(CharBefore(s, end))) end = PreviousChar(s, end);
  return s.substr(begin, end - begin);
}

std::string_view StripChars(std::string_view s, std::string_view chars, bool left, bool right) {
  const auto listed = [&](size_t begin, size_t end) {
    for (size_t pos = 0; pos < chars.size();) {
      const size_t at = pos;
      NextChar(chars, &pos);
      if (s.substr(begin, end - begin) == chars.substr(at, pos - at)) return true;
    }
    return false;
  };
  size_t begin = 0, end = s.size();
  while (left && begin < end) {
    size_t next = begin;
    NextChar(s, &next);
    if (!listed(begin, next)) break;
    begin = next;
  }
  while (right && end > begin) {
    const size_t previous = PreviousChar(s, end);
    if (!listed(previous, end)) break;
    end = previous;
  }
  return s.substr(begin, end - begin);
}

namespace {
bool IsCased(std::string_view c) { return Lowercase(c) != Uppercase(c); }
}  // namespace

std::string PyTitle(std::string_view s) {
  std::string out;
  bool inside = false;
  for (size_t pos = 0; pos < s.size();) {
    const size_t begin = pos;
    NextChar(s, &pos);
    const std::string_view c = s.substr(begin, pos - begin);
    out += inside ? Lowercase(c) : Uppercase(c);
    inside = IsCased(c);
  }
  return out;
}

std::string Capitalize(std::string_view s) {
  if (s.empty()) return "";
  size_t pos = 0;
  NextChar(s, &pos);
  return Uppercase(s.substr(0, pos)) + Lowercase(s.substr(pos));
}

std::string Pad(std::string_view s, int64_t width, std::string_view fill, int side, size_t limit) {
  const auto have = static_cast<int64_t>(CountChars(s));
  const int64_t missing =
      std::min(std::max<int64_t>(width - have, 0), static_cast<int64_t>(limit) + 1);
  // Python's center puts the odd space left when the width is odd.
  const int64_t left = side < 0 ? 0 : side > 0 ? missing : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += s;
  for (int64_t i = left; i < missing; ++i) out += fill;
  return out;
}

Result<Value> ReplaceString(Interpreter& in, std::string_view s, std::string_view from,
                            std::string_view to, int64_t count) {
  std::string out;
  size_t pos = 0;
  uint64_t left = count < 0 ? UINT64_MAX : static_cast<uint64_t>(count);
  if (from.empty()) {
    for (; left > 0; --left) {
      out += to;
      if (pos == s.size() || out.size() > in.max_output()) break;
      const size_t begin = pos;
      NextChar(s, &pos);
      out += s.substr(begin, pos - begin);
    }
    out += s.substr(pos);
    return in.NewString(std::move(out));
  }
  for (size_t hit; left > 0 && (hit = s.find(from, pos)) != s.npos; --left) {
    out += s.substr(pos, hit - pos);
    out += to;
    pos = hit + from.size();
    if (out.size() > in.max_output()) return in.NewString(std::move(out));
  }
  out += s.substr(pos);
  return in.NewString(std::move(out));
}

// %s %r %d %i %x %f %.Nf %e %g %c-less: what templates use.
Result<Value> PercentFormat(Interpreter& in, std::string_view format, const Value& args) {
  const bool tuple = args.IsList() && args.list().kind == List::Kind::kTuple;
  size_t next = 0;
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out.push_back(format[i]);
      continue;
    }
    if (++i >= format.size()) return InvalidArgument("incomplete format");
    if (format[i] == '%') {
      out.push_back('%');
      continue;
    }
    Value value;
    if (format[i] == '(') {
      const size_t close = format.find(')', i);
      if (close == format.npos) return InvalidArgument("incomplete format key");
      const Value* found =
          args.IsDict() ? args.dict()->Find(format.substr(i + 1, close - i - 1)) : nullptr;
      if (found == nullptr) return InvalidArgument("format key is not in the mapping");
      value = *found;
      i = close + 1;
    } else {
      const size_t count = tuple ? args.items().size() : 1;
      if (next >= count) return InvalidArgument("not enough arguments for format string");
      value = tuple ? args.items()[next] : args;
      ++next;
    }
    std::string flags;
    while (i < format.size() &&
           std::string_view("-+ 0#").find(format[i]) != std::string_view::npos) {
      flags.push_back(format[i++]);
    }
    const auto number = [&] {
      int n = 0;
      while (i < format.size() && format[i] >= '0' && format[i] <= '9' && n < 10000) {
        n = n * 10 + (format[i++] - '0');
      }
      return n;
    };
    const int width = number();
    int precision = -1;
    if (i < format.size() && format[i] == '.') ++i, precision = number();
    if (i >= format.size()) return InvalidArgument("incomplete format");
    if (width > 9999 || precision > 300) return InvalidArgument("format width is too large");
    std::string text;
    const char kind = format[i];
    if (kind == 's' || kind == 'r') {
      TESSERA_RETURN_IF_ERROR(kind == 's' ? value.AppendStr(in.max_output(), &text)
                                          : value.AppendRepr(in.max_output(), &text));
      if (precision >= 0) {
        size_t pos = 0;
        for (int k = 0; k < precision && pos < text.size(); ++k) NextChar(text, &pos);
        text.resize(pos);
      }
    } else {
      if (value.IsUndefined()) return InvalidArgument("{}", value.message());
      if (!value.IsNumber()) {
        return InvalidArgument("%{} format: a real number is required, not {}", kind,
                               value.TypeName());
      }
      const double d = value.AsDouble();
      const bool plus = flags.find('+') != flags.npos;
      const bool negative = d < 0;
      const int digits = precision < 0 ? 6 : precision;
      if (kind == 'd' || kind == 'i' || kind == 'x' || kind == 'X' || kind == 'o') {
        if (value.IsFloat() && (!(d > -9e18 && d < 9e18) || kind == 'x')) {
          return InvalidArgument("%{} format: an integer is required", kind);
        }
        const int64_t n = value.IsFloat() ? static_cast<int64_t>(d) : value.AsInt();
        const uint64_t magnitude = n < 0 ? 0 - static_cast<uint64_t>(n) : static_cast<uint64_t>(n);
        text = kind == 'x'   ? fmt::format("{:x}", magnitude)
               : kind == 'X' ? fmt::format("{:X}", magnitude)
               : kind == 'o' ? fmt::format("{:o}", magnitude)
                             : fmt::format("{}", magnitude);
      } else if (kind == 'f' || kind == 'F') {
        text = fmt::format("{:.{}f}", negative ? -d : d, digits);
      } else if (kind == 'e') {
        text = fmt::format("{:.{}e}", negative ? -d : d, digits);
      } else if (kind == 'g') {
        text = fmt::format("{:.{}g}", negative ? -d : d, digits);
      } else {
        return InvalidArgument("unsupported format character '{}'", kind);
      }
      const std::string sign = negative ? "-" : plus ? "+" : "";
      if (flags.find('0') != flags.npos && flags.find('-') == flags.npos) {
        text = Pad(text, width - static_cast<int64_t>(sign.size()), "0", 1, 10000);
      }
      text = sign + text;
    }
    out += Pad(text, width, " ", flags.find('-') != flags.npos ? -1 : 1, 10000);
    if (out.size() > in.max_output()) break;
  }
  if (tuple && next < args.items().size()) {
    return InvalidArgument("not all arguments converted during string formatting");
  }
  if (!tuple && !args.IsDict() && next == 0) {
    return InvalidArgument("not all arguments converted during string formatting");
  }
  return in.NewString(std::move(out));
}

}  // namespace tessera::text::jinja
