#include "tessera/text/jinja_lexer.h"

#include <algorithm>
#include <charconv>

#include "tessera/text/jinja_strings.h"
#include "tessera/text/unicode.h"

namespace tessera::text::jinja {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<signed char>(c) < 0;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)), s_(source_) {}
  Result<std::vector<Token>> Run();

 private:
  using Kind = Token::Kind;
  Status Fail(std::string_view what) const {
    return InvalidArgument("template line {}: {}", line_, what);
  }
  void Advance(size_t to) {
    if (to > pos_) {
      line_ += static_cast<int>(std::count(s_.begin() + pos_, s_.begin() + to, '\n'));
      line_starting_ = s_[to - 1] == '\n';
    }
    pos_ = to;
  }
  bool At(size_t i, std::string_view what) const {
    return s_.substr(std::min(i, s_.size())).starts_with(what);
  }
  size_t SkipSpace(size_t i) const {
    for (size_t next = i; next < s_.size() && IsPySpace(NextChar(s_, &next));) i = next;
    return i;
  }
  void Push(Kind kind, std::string text = {}) {
    tokens_.push_back({kind, std::move(text), 0, 0, line_});
  }
  // End of a tag that closes with `close` at i ("%}" or "#}"), or npos. Eats what follows: all
  // space after "-", one newline otherwise.
  size_t TagEnd(size_t i, std::string_view close) const {
    if (At(i, close)) {
      i += 2;
      return At(i, "\n") ? i + 1 : i;
    }
    if (i < s_.size() && s_[i] == '-' && At(i + 1, close)) return SkipSpace(i + 3);
    if (i < s_.size() && s_[i] == '+' && At(i + 1, close)) return i + 3;
    return s_.npos;
  }
  Status Text(size_t open);
  Status Comment(size_t open);
  Result<bool> Raw(size_t open);
  Status Tag(bool print);
  Status String();
  Status Number();
  Status Operator(std::vector<char>* brackets);

  std::string source_;
  std::string_view s_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

// The text before the tag at `open`, cut as its sign and lstrip_blocks say.
Status Lexer::Text(size_t open) {
  std::string_view text = s_.substr(pos_, open - pos_);
  const char sign = open + 2 < s_.size() ? s_[open + 2] : ' ';
  if (sign == '-') {
    text = StripSpace(text, false, true);
  } else if (sign != '+' && s_[open + 1] != '{') {
    const size_t newline = text.rfind('\n');
    const size_t start = newline == text.npos ? 0 : newline + 1;
    if ((start > 0 || line_starting_) && StripSpace(text.substr(start), true, false).empty()) {
      text = text.substr(0, start);
    }
  }
  if (!text.empty()) Push(Kind::kText, std::string(text));
  return OkStatus();
}

Status Lexer::Comment(size_t open) {
  size_t i = open + 2;
  for (; i < s_.size(); ++i) {
    // "-#}" and "+#}" come first: the sign belongs to the end.
    const size_t end = TagEnd(i, "#}");
    if (end != s_.npos) {
      Advance(end);
      return OkStatus();
    }
  }
  return Fail("missing end of comment tag");
}

// {% raw %}...{% endraw %}; false when the tag at `open` is another one.
Result<bool> Lexer::Raw(size_t open) {
  size_t i = open + 2;
  if (i < s_.size() && (s_[i] == '-' || s_[i] == '+')) ++i;
  i = SkipSpace(i);
  if (!At(i, "raw")) return false;
  i = SkipSpace(i + 3);
  if (At(i, "-%}")) {
    i = SkipSpace(i + 3);
  } else if (At(i, "%}")) {
    i += 2;
  } else {
    return false;
  }
  Advance(i);
  for (size_t end = s_.find("{%", pos_); end != s_.npos; end = s_.find("{%", end + 2)) {
    size_t j = end + 2;
    if (j < s_.size() && (s_[j] == '-' || s_[j] == '+')) ++j;
    j = SkipSpace(j);
    if (!At(j, "endraw")) continue;
    const size_t after = TagEnd(SkipSpace(j + 6), "%}");
    if (after == s_.npos) continue;
    TESSERA_RETURN_IF_ERROR(Text(end));
    Advance(after);
    return true;
  }
  return Fail("missing end of raw directive");
}

Status Lexer::String() {
  const char quote = s_[pos_];
  size_t end = pos_ + 1;
  while (end < s_.size() && s_[end] != quote) end += s_[end] == '\\' ? 2 : 1;
  if (end >= s_.size()) return Fail("string without end");
  const std::string_view raw = s_.substr(pos_ + 1, end - pos_ - 1);
  std::string out;
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\') {
      out.push_back(raw[i]);
      continue;
    }
    const char e = raw[++i];
    static constexpr std::string_view kFrom = "abfnrtv\\'\"", kTo = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t known = kFrom.find(e); known != kFrom.npos) {
      out.push_back(kTo[known]);
    } else if (e == '\n') {
    } else if (e == 'x' || e == 'u' || e == 'U') {
      const size_t digits = e == 'x' ? 2 : e == 'u' ? 4 : 8;
      uint32_t code = 0;
      const char* from = raw.data() + i + 1;
      if (i + digits >= raw.size() ||
          std::from_chars(from, from + digits, code, 16).ptr != from + digits || code > 0x10FFFF ||
          (code >= 0xD800 && code < 0xE000)) {
        return Fail("string holds a malformed \\x, \\u or \\U escape");
      }
      AppendUtf8(code, &out);
      i += digits;
    } else if (e >= '0' && e <= '7') {
      uint32_t code = 0;
      size_t n = 0;
      for (; n < 3 && i + n < raw.size() && raw[i + n] >= '0' && raw[i + n] <= '7'; ++n) {
        code = code * 8 + static_cast<uint32_t>(raw[i + n] - '0');
      }
      AppendUtf8(code, &out);
      i += n - 1;
    } else if (e == 'N') {
      return Fail("\\N{...} escapes are not supported");
    } else {
      out.push_back('\\');
      out.push_back(e);
    }
  }
  Push(Kind::kString, std::move(out));
  Advance(end + 1);
  return OkStatus();
}

Status Lexer::Number() {
  size_t i = pos_;
  std::string digits;
  int base = 10;
  bool real = false;
  if (s_[i] == '0' && i + 1 < s_.size()) {
    const char b = static_cast<char>(s_[i + 1] | 0x20);
    base = b == 'x' ? 16 : b == 'o' ? 8 : b == 'b' ? 2 : 10;
    if (base != 10) i += 2;
  }
  const auto run = [&] {
    while (i < s_.size() && (std::isxdigit(static_cast<unsigned char>(s_[i])) || s_[i] == '_')) {
      if (base == 10 && !IsDigit(s_[i]) && s_[i] != '_') break;
      if (s_[i] != '_') digits.push_back(s_[i]);
      ++i;
    }
  };
  run();
  if (base == 10) {
    if (i + 1 < s_.size() && s_[i] == '.' && IsDigit(s_[i + 1])) {
      real = true;
      digits.push_back('.');
      ++i;
      run();
    }
    if (i < s_.size() && (s_[i] | 0x20) == 'e') {
      size_t j = i + 1;
      if (j < s_.size() && (s_[j] == '+' || s_[j] == '-')) ++j;
      if (j < s_.size() && IsDigit(s_[j])) {
        real = true;
        digits.push_back('e');
        if (s_[i + 1] == '-') digits.push_back('-');
        i = j;
        run();
      }
    }
  }
  Push(real ? Kind::kFloat : Kind::kInt, digits);
  const char* end = digits.data() + digits.size();
  const auto parsed = real ? std::from_chars(digits.data(), end, tokens_.back().number)
                           : std::from_chars(digits.data(), end, tokens_.back().integer, base);
  if (parsed.ptr != end || parsed.ec != std::errc()) return Fail("number out of range");
  Advance(i);
  return OkStatus();
}

Status Lexer::Operator(std::vector<char>* brackets) {
  for (std::string_view op : {"==", "!=", ">=", "<=", "//", "**"}) {
    if (At(pos_, op)) {
      Push(Kind::kOperator, std::string(op));
      Advance(pos_ + 2);
      return OkStatus();
    }
  }
  const char c = s_[pos_];
  if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
    return Fail(fmt::format("unexpected character '{}'",
                            s_.substr(pos_, Utf8CharLength(static_cast<unsigned char>(c)))));
  }
  if (c == '(' || c == '[' || c == '{') {
    brackets->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
  } else if (c == ')' || c == ']' || c == '}') {
    if (brackets->empty() || brackets->back() != c) return Fail(fmt::format("unexpected '{}'", c));
    brackets->pop_back();
  }
  Push(Kind::kOperator, std::string(1, c));
  Advance(pos_ + 1);
  return OkStatus();
}

// From after "{%" or "{{" to the end of the tag.
Status Lexer::Tag(bool print) {
  std::vector<char> brackets;
  while (pos_ < s_.size()) {
    if (brackets.empty()) {
      size_t end = s_.npos;
      if (!print) {
        end = TagEnd(pos_, "%}");
      } else if (At(pos_, "-}}")) {
        end = SkipSpace(pos_ + 3);
      } else if (At(pos_, "}}")) {
        end = pos_ + 2;
      }
      if (end != s_.npos) {
        Push(print ? Kind::kPrintEnd : Kind::kBlockEnd);
        Advance(end);
        return OkStatus();
      }
    }
    const char c = s_[pos_];
    if (const size_t after = SkipSpace(pos_); after != pos_) {
      Advance(after);
    } else if (IsDigit(c)) {
      TESSERA_RETURN_IF_ERROR(Number());
    } else if (IsNameStart(c)) {
      size_t end = pos_;
      while (end < s_.size() && (IsNameStart(s_[end]) || IsDigit(s_[end]))) ++end;
      Push(Kind::kName, std::string(s_.substr(pos_, end - pos_)));
      Advance(end);
    } else if (c == '\'' || c == '"') {
      TESSERA_RETURN_IF_ERROR(String());
    } else {
      TESSERA_RETURN_IF_ERROR(Operator(&brackets));
    }
  }
  return Fail("the template ends inside a tag");
}

Result<std::vector<Token>> Lexer::Run() {
  while (pos_ < s_.size()) {
    size_t open = pos_;
    while ((open = s_.find('{', open)) != s_.npos) {
      if (open + 1 < s_.size() && std::string_view("%{#").find(s_[open + 1]) != s_.npos) break;
      ++open;
    }
    if (open == s_.npos) {
      Push(Kind::kText, std::string(s_.substr(pos_)));
      Advance(s_.size());
      break;
    }
    TESSERA_RETURN_IF_ERROR(Text(open));
    const char kind = s_[open + 1];
    if (kind == '#') {
      Advance(open);
      TESSERA_RETURN_IF_ERROR(Comment(open));
      continue;
    }
    if (kind == '%') {
      TESSERA_ASSIGN_OR_RETURN(const bool raw, Raw(open));
      if (raw) continue;
    }
    size_t begin = open + 2;
    if (begin < s_.size() && (s_[begin] == '-' || s_[begin] == '+')) ++begin;
    Advance(begin);
    Push(kind == '{' ? Kind::kPrintBegin : Kind::kBlockBegin);
    TESSERA_RETURN_IF_ERROR(Tag(kind == '{'));
  }
  Push(Kind::kEnd);
  return std::move(tokens_);
}

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) {
  if (auto bad = FindInvalidUtf8(source)) {
    return InvalidArgument("template is not valid UTF-8 at byte {}", *bad);
  }
  std::string text;  // all line ends are \n, and one at the very end is dropped
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text.push_back(source[i]);
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return Lexer(std::move(text)).Run();
}

}  // namespace tessera::text::jinja
