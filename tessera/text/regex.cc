#include "tessera/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <utility>

#include "tessera/text/unicode.h"

namespace tessera::text {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 20;
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kHeapLimitKib = 256 * 1024;

constexpr std::string_view kSpace =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

constexpr std::pair<std::string_view, std::string_view> kDelta[] = {
#include "tessera/text/unicode_delta.inc"
};

std::string_view Delta(std::string_view property) {
  for (const auto& [name, ranges] : kDelta) {
    if (name == property) return ranges;
  }
  return {};
}

// The members of a property as the inside of a character class.
std::string PropertyMembers(std::string_view name) {
  return fmt::format(R"(\p{{{}}}{})", name == "Han" ? "sc:Han" : name, Delta(name));
}

std::string WordMembers() {
  // Oniguruma also counts the Latin-1 superscripts and fractions as word characters.
  return PropertyMembers("L") + PropertyMembers("M") + PropertyMembers("Nd") +
         R"(\p{Nl}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
}

std::string Wrapped(bool in_class, bool negated, const std::string& members) {
  return in_class ? members : fmt::format("[{}{}]", negated ? "^" : "", members);
}

}  // namespace

Result<std::string> TranslatePattern(std::string_view p) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < p.size(); ++i) {
    const char c = p[i];
    if (c == '\\' && i + 1 < p.size()) {
      const char e = p[++i];
      if (e == 's') {
        out += Wrapped(in_class, false, std::string(kSpace));
      } else if (e == 'S') {
        out += in_class ? R"(\S\x{180E})" : fmt::format("[^{}]", kSpace);
      } else if (e == 'd' || (e == 'D' && !in_class)) {
        out += Wrapped(in_class, e == 'D', PropertyMembers("Nd"));
      } else if (e == 'w' || (e == 'W' && !in_class)) {
        out += Wrapped(in_class, e == 'W', WordMembers());
      } else if (e == 'h' || (e == 'H' && !in_class)) {
        out += Wrapped(in_class, e == 'H', "0-9a-fA-F");
      } else if ((e == 'p' || e == 'P') && i + 1 < p.size() && p[i + 1] == '{') {
        const size_t close = p.find('}', i);
        if (close == p.npos)
          return InvalidArgument("pattern has \\{}{{ without a closing brace", e);
        std::string_view name = p.substr(i + 2, close - i - 2);
        bool negated = e == 'P';
        if (!name.empty() && name[0] == '^') name.remove_prefix(1), negated = !negated;
        if (negated && in_class) {
          out += fmt::format(R"(\P{{{}}})", name);
        } else {
          out += Wrapped(in_class, negated, PropertyMembers(name));
        }
        i = close;
      } else {
        out += c, out += e;
      }
    } else if (in_class) {
      if (c == '&' && i + 1 < p.size() && p[i + 1] == '&') {
        return Unimplemented("pattern uses '&&' inside a character class, which is not supported");
      }
      if (c == '[') {
        const size_t close = p.find(":]", i);
        if (i + 1 < p.size() && p[i + 1] == ':' && close != p.npos) {
          out += p.substr(i, close + 2 - i);
          i = close + 1;
        } else {
          out += "\\[";
        }
        continue;
      }
      if (c == ']') in_class = false;
      out += c;
    } else {
      out += c;
      if (c == '[') {
        in_class = true;
        if (i + 1 < p.size() && p[i + 1] == '^') out += p[++i];
        if (i + 1 < p.size() && p[i + 1] == ']') out += "\\]", ++i;
      }
    }
  }
  return out;
}

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool jit = false;
  ~Code() { pcre2_code_free(code); }
};

Result<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return ResourceExhausted("pattern of {} bytes is over the limit of {}", pattern.size(),
                             kMaxPatternBytes);
  }
  if (auto bad = FindInvalidUtf8(pattern)) {
    return InvalidArgument("pattern is not valid UTF-8 at byte {}", *bad);
  }
  TESSERA_ASSIGN_OR_RETURN(const std::string translated, TranslatePattern(pattern));
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_shared<Code>();
  // MULTILINE because ^ and $ match at lines in Ruby syntax.
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                             &error, &offset, nullptr);
  if (code->code == nullptr) {
    std::array<PCRE2_UCHAR, 256> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    return InvalidArgument("pattern '{}' does not compile: {}", pattern.substr(0, 200),
                           reinterpret_cast<const char*>(message.data()));
  }
  code->jit = pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE) == 0;
  Regex regex;
  regex.code_ = std::move(code);
  return regex;
}

struct Regex::Cursor::Impl {
  std::shared_ptr<const Code> code;
  std::string_view subject;
  size_t next = 0;
  size_t last_end = SIZE_MAX;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;

  ~Impl() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
};

Regex::Cursor::Cursor(const Regex& regex, std::string_view subject)
    : impl_(std::make_unique<Impl>()) {
  impl_->code = regex.code_;
  impl_->subject = subject;
  impl_->data = pcre2_match_data_create(1, nullptr);
  impl_->context = pcre2_match_context_create(nullptr);
  if (impl_->context != nullptr) {
    pcre2_set_match_limit(impl_->context, kMatchLimit);
    pcre2_set_heap_limit(impl_->context, kHeapLimitKib);
  }
}

Regex::Cursor::~Cursor() = default;

Result<bool> Regex::Cursor::Next(Span* match) {
  Impl& m = *impl_;
  if (m.data == nullptr || m.context == nullptr) {
    return ResourceExhausted("no memory for regular expression matching");
  }
  while (m.next <= m.subject.size()) {
    const auto* text = reinterpret_cast<PCRE2_SPTR>(m.subject.data());
    int rc = 0;
    if (m.code->jit) {
      rc = pcre2_jit_match(m.code->code, text, m.subject.size(), m.next, PCRE2_NO_UTF_CHECK, m.data,
                           m.context);
    }
    if (!m.code->jit || rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      rc = pcre2_match(m.code->code, text, m.subject.size(), m.next,
                       PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m.data, m.context);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    if (rc < 0) {
      return ResourceExhausted(
          "pre-tokeniser pattern gave up at byte {} of the text (PCRE2 error {})", m.next, rc);
    }
    const PCRE2_SIZE* ovector = pcre2_get_ovector_pointer(m.data);
    const size_t begin = ovector[0], end = ovector[1];
    if (end < begin) return InvalidArgument("pattern uses \\K in a lookaround");
    if (begin == end) {
      m.next =
          end +
          (end < m.subject.size() ? Utf8CharLength(static_cast<unsigned char>(m.subject[end])) : 1);
      if (m.last_end == end) continue;
    } else {
      m.next = end;
    }
    m.last_end = end;
    *match = {begin, end};
    return true;
  }
  return false;
}

}  // namespace tessera::text
