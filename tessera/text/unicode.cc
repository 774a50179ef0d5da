#include "tessera/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace tessera::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

enum class Scan { kValid, kInvalid, kIncomplete };

// Looks at the character at `pos`. *length is its length when valid, the length of the maximal
// invalid sequence when invalid, and what is left of the input when incomplete.
Scan ScanChar(std::string_view s, size_t pos, size_t* length) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(pos);
  *length = 1;
  if (lead < 0x80) return Scan::kValid;
  if (lead < 0xC2 || lead > 0xF4) return Scan::kInvalid;
  const size_t need = Utf8CharLength(lead);
  unsigned char low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < need; ++i) {
    *length = i;
    if (pos + i >= s.size()) return Scan::kIncomplete;
    if (byte(pos + i) < low || byte(pos + i) > high) return Scan::kInvalid;
    low = 0x80, high = 0xBF;
  }
  *length = need;
  return Scan::kValid;
}

utf8proc_category_t Category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool IsAsciiOnly(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return static_cast<signed char>(c) >= 0; });
}

}  // namespace

std::optional<size_t> FindInvalidUtf8(std::string_view bytes) {
  size_t pos = 0;
  while (pos < bytes.size()) {
    if (static_cast<signed char>(bytes[pos]) >= 0) {
      ++pos;
      continue;
    }
    size_t length = 0;
    if (ScanChar(bytes, pos, &length) != Scan::kValid) return pos;
    pos += length;
  }
  return std::nullopt;
}

char32_t NextChar(std::string_view utf8, size_t* pos) {
  const auto byte = [&](size_t i) -> char32_t {
    return i < utf8.size() ? static_cast<unsigned char>(utf8[i]) : 0;
  };
  const size_t at = *pos;
  const char32_t lead = byte(at);
  const size_t length = Utf8CharLength(static_cast<unsigned char>(lead));
  *pos = std::min(at + length, utf8.size());
  switch (length) {
    case 1: return lead;
    case 2: return (lead & 0x1F) << 6 | (byte(at + 1) & 0x3F);
    case 3: return (lead & 0x0F) << 12 | (byte(at + 1) & 0x3F) << 6 | (byte(at + 2) & 0x3F);
    default:
      return (lead & 0x07) << 18 | (byte(at + 1) & 0x3F) << 12 | (byte(at + 2) & 0x3F) << 6 |
             (byte(at + 3) & 0x3F);
  }
}

char32_t CharBefore(std::string_view utf8, size_t end) {
  size_t pos = end - 1;
  while (pos > 0 && (static_cast<unsigned char>(utf8[pos]) & 0xC0) == 0x80) --pos;
  return NextChar(utf8, &pos);
}

void AppendUtf8(char32_t c, std::string* out) {
  const auto put = [&](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

size_t CountChars(std::string_view utf8) {
  size_t count = 0;
  for (char c : utf8) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

bool IsWhiteSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsWordChar(char32_t c) {
  // Other_Alphabetic outside the mark categories: circled, parenthesised and squared letters.
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
      (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189)) {
    return true;
  }
  if (c == 0x200C || c == 0x200D) return true;
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
  }
}

bool IsNumeric(char32_t c) {
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool IsMark(char32_t c) {
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

bool IsPunctuation(char32_t c) {
  if (c < 0x80)
    return c > 0x20 && c < 0x7F && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') &&
           !(c >= '0' && c <= '9');
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

std::string Normalize(NormalForm form, std::string_view utf8) {
  if (IsAsciiOnly(utf8)) return std::string(utf8);
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const bool compat = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compat ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> chars;
  chars.reserve(utf8.size());
  utf8proc_int32_t buffer[64];
  for (size_t pos = 0; pos < utf8.size();) {
    const auto c = static_cast<utf8proc_int32_t>(NextChar(utf8, &pos));
    const auto n = utf8proc_decompose_char(c, buffer, std::size(buffer), options, nullptr);
    if (n > 0 && n <= static_cast<utf8proc_ssize_t>(std::size(buffer))) {
      chars.insert(chars.end(), buffer, buffer + n);
    } else {
      chars.push_back(c);
    }
  }
  // Canonical ordering. utf8proc's own is a bubble sort, quadratic on hostile runs of marks.
  const auto combining = [](utf8proc_int32_t c) {
    return utf8proc_get_property(c)->combining_class;
  };
  for (size_t i = 0; i < chars.size();) {
    if (combining(chars[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < chars.size() && combining(chars[end]) != 0) ++end;
    std::stable_sort(chars.begin() + i, chars.begin() + end,
                     [&](auto a, auto b) { return combining(a) < combining(b); });
    i = end;
  }
  size_t length = chars.size();
  if (compose) {
    const auto n = utf8proc_normalize_utf32(
        chars.data(), static_cast<utf8proc_ssize_t>(length),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (n >= 0) length = static_cast<size_t>(n);
  }
  std::string out;
  out.reserve(utf8.size() + 8);
  for (size_t i = 0; i < length; ++i) AppendUtf8(static_cast<char32_t>(chars[i]), &out);
  return out;
}

std::string Lowercase(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  for (size_t pos = 0; pos < utf8.size();) {
    const char32_t c = NextChar(utf8, &pos);
    if (c == 0x130) {  // the one character whose lower case is two
      out += "i\xCC\x87";
      continue;
    }
    AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), &out);
  }
  return out;
}

std::string Uppercase(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  for (size_t pos = 0; pos < utf8.size();) {
    const char32_t c = NextChar(utf8, &pos);
    if (c == 0xDF) {
      out += "SS";
      continue;
    }
    AppendUtf8(static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), &out);
  }
  return out;
}

void Utf8Lossy::Push(std::string_view bytes, std::string* out) {
  std::string joined;
  if (!pending_.empty()) {
    joined = pending_;
    joined += bytes;
    bytes = joined;
    pending_.clear();
  }
  size_t pos = 0;
  while (pos < bytes.size()) {
    size_t length = 0;
    switch (ScanChar(bytes, pos, &length)) {
      case Scan::kValid: out->append(bytes.substr(pos, length)); break;
      case Scan::kInvalid: out->append(kReplacement); break;
      case Scan::kIncomplete: pending_ = bytes.substr(pos); return;
    }
    pos += length;
  }
}

void Utf8Lossy::Finish(std::string* out) {
  if (!pending_.empty()) out->append(kReplacement);
  pending_.clear();
}

}  // namespace tessera::text
