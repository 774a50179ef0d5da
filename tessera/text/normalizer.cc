#include "tessera/text/normalizer.h"

#include "tessera/text/json_util.h"

namespace tessera::text {
namespace {

constexpr int kMaxDepth = 16;
constexpr size_t kMaxSteps = 64;
constexpr size_t kMaxOutput = size_t{1} << 31;

std::string Strip(std::string_view s, bool left, bool right) {
  size_t begin = 0, end = s.size();
  while (left && begin < end) {
    size_t next = begin;
    if (!IsWhiteSpace(NextChar(s, &next))) break;
    begin = next;
  }
  while (right && end > begin) {
    if (!IsWhiteSpace(CharBefore(s, end))) break;
    --end;
    while (end > begin && (static_cast<unsigned char>(s[end]) & 0xC0) == 0x80) --end;
  }
  return std::string(s.substr(begin, end - begin));
}

std::string ReplaceAll(std::string_view s, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(s.size());
  size_t pos = 0;
  for (size_t hit; (hit = s.find(from, pos)) != s.npos; pos = hit + from.size()) {
    out += s.substr(pos, hit - pos);
    out += to;
  }
  out += s.substr(pos);
  return out;
}

}  // namespace

Result<Normalizer> Normalizer::FromJson(const nlohmann::json& spec) {
  Normalizer normalizer;
  if (spec.is_null()) return normalizer;
  TESSERA_RETURN_IF_ERROR(normalizer.Append(spec, 0));
  return normalizer;
}

Status Normalizer::Append(const nlohmann::json& spec, int depth) {
  if (depth > kMaxDepth) return DataLoss("normalizer: sequences nested deeper than {}", kMaxDepth);
  const std::string type = StringOr(spec, "type", "");
  Step step;
  if (type == "Sequence") {
    const auto& list = Member(spec, "normalizers");
    if (!list.is_array()) return DataLoss("normalizer: Sequence without a list 'normalizers'");
    for (const auto& item : list) TESSERA_RETURN_IF_ERROR(Append(item, depth + 1));
    return OkStatus();
  }
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    step.kind = Step::Kind::kForm;
    step.form = type == "NFC"    ? NormalForm::kNfc
                : type == "NFD"  ? NormalForm::kNfd
                : type == "NFKC" ? NormalForm::kNfkc
                                 : NormalForm::kNfkd;
  } else if (type == "Lowercase") {
    step.kind = Step::Kind::kLowercase;
  } else if (type == "Prepend") {
    step.kind = Step::Kind::kPrepend;
    step.to = StringOr(spec, "prepend", "");
  } else if (type == "Replace") {
    step.to = StringOr(spec, "content", "");
    const auto& pattern = Member(spec, "pattern");
    if (Member(pattern, "String").is_string()) {
      step.kind = Step::Kind::kReplaceString;
      step.from = StringOr(pattern, "String", "");
      if (step.from.empty()) return DataLoss("normalizer: Replace of an empty string");
    } else if (Member(pattern, "Regex").is_string()) {
      step.kind = Step::Kind::kReplaceRegex;
      auto regex = Regex::Compile(StringOr(pattern, "Regex", ""));
      if (!regex.ok()) return regex.status().WithContext("normalizer: Replace");
      step.regex = std::make_shared<Regex>(*std::move(regex));
    } else {
      return DataLoss("normalizer: Replace needs a pattern of kind String or Regex");
    }
  } else if (type == "Strip") {
    step.kind = Step::Kind::kStrip;
    step.left = BoolOr(spec, "strip_left", true);
    step.right = BoolOr(spec, "strip_right", true);
  } else if (type == "StripAccents") {
    step.kind = Step::Kind::kAccents;
  } else {
    return Unimplemented(
        "normalizer: kind '{}' is not supported; known: Sequence, NFC, NFD, NFKC, NFKD, Lowercase, "
        "Prepend, Replace, Strip, StripAccents",
        type);
  }
  if (FindInvalidUtf8(step.to)) return DataLoss("normalizer: {} inserts invalid UTF-8", type);
  if (steps_.size() == kMaxSteps) return DataLoss("normalizer: more than {} steps", kMaxSteps);
  steps_.push_back(std::move(step));
  return OkStatus();
}

Result<std::string> Normalizer::Run(std::string_view utf8) const {
  std::string text(utf8);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::Kind::kForm: text = Normalize(step.form, text); break;
      case Step::Kind::kLowercase: text = Lowercase(text); break;
      case Step::Kind::kPrepend:
        if (!text.empty()) text.insert(0, step.to);
        break;
      case Step::Kind::kReplaceString: text = ReplaceAll(text, step.from, step.to); break;
      case Step::Kind::kReplaceRegex: {
        std::string out;
        size_t pos = 0;
        Regex::Cursor cursor(*step.regex, text);
        for (Span hit;;) {
          TESSERA_ASSIGN_OR_RETURN(const bool found, cursor.Next(&hit));
          if (!found) break;
          out.append(text, pos, hit.begin - pos);
          out += step.to;
          pos = hit.end;
        }
        out.append(text, pos);
        text = std::move(out);
        break;
      }
      case Step::Kind::kStrip: text = Strip(text, step.left, step.right); break;
      case Step::Kind::kAccents: {
        std::string out;
        for (size_t pos = 0; pos < text.size();) {
          const char32_t c = NextChar(text, &pos);
          if (!IsMark(c)) AppendUtf8(c, &out);
        }
        text = std::move(out);
        break;
      }
    }
    if (text.size() > kMaxOutput) return ResourceExhausted("normalised text exceeds 2 GiB");
  }
  return text;
}

}  // namespace tessera::text
