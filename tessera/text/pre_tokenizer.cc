#include "tessera/text/pre_tokenizer.h"

#include <algorithm>

#include "tessera/text/byte_level.h"
#include "tessera/text/json_util.h"
#include "tessera/text/unicode.h"

namespace tessera::text {

const std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string_view kLladaPattern =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";

namespace {

constexpr int kMaxDepth = 16;
constexpr size_t kMaxSteps = 64;
constexpr std::string_view kKnown =
    "Sequence, ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Punctuation, Metaspace";

Result<std::shared_ptr<const Regex>> Shared(std::string_view pattern) {
  auto regex = Regex::Compile(pattern);
  if (!regex.ok()) return regex.status().WithContext("pre_tokenizer");
  return std::shared_ptr<const Regex>(std::make_shared<Regex>(*std::move(regex)));
}

}  // namespace

Result<PreTokenizer::Behavior> PreTokenizer::ParseBehavior(std::string_view name) {
  std::string key;
  for (char c : name) {
    if (c != '_') key.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  }
  if (key == "removed") return Behavior::kRemoved;
  if (key == "isolated") return Behavior::kIsolated;
  if (key == "mergedwithprevious") return Behavior::kMergedWithPrevious;
  if (key == "mergedwithnext") return Behavior::kMergedWithNext;
  if (key == "contiguous") return Behavior::kContiguous;
  return DataLoss(
      "pre_tokenizer: behavior '{}' is unknown; known: Removed, Isolated, MergedWithPrevious, "
      "MergedWithNext, Contiguous",
      name);
}

Result<PreTokenizer> PreTokenizer::FromJson(const nlohmann::json& spec) {
  PreTokenizer result;
  if (spec.is_null()) return result;
  TESSERA_RETURN_IF_ERROR(result.Append(spec, 0));
  // One byte mapping at the very end: leave the words as bytes.
  auto& steps = result.steps_;
  const auto maps = std::count_if(steps.begin(), steps.end(),
                                  [](const Step& s) { return s.kind == Step::Kind::kByteMap; });
  if (maps == 1 && steps.back().kind == Step::Kind::kByteMap) {
    steps.pop_back();
    result.byte_level_ = true;
  }
  return result;
}

Status PreTokenizer::Append(const nlohmann::json& spec, int depth) {
  if (depth > kMaxDepth)
    return DataLoss("pre_tokenizer: sequences nested deeper than {}", kMaxDepth);
  const std::string type = StringOr(spec, "type", "");
  Step step;
  if (type == "Sequence") {
    const auto& list = Member(spec, "pretokenizers");
    if (!list.is_array()) return DataLoss("pre_tokenizer: Sequence without a list 'pretokenizers'");
    for (const auto& item : list) TESSERA_RETURN_IF_ERROR(Append(item, depth + 1));
    return OkStatus();
  }
  if (type == "ByteLevel") {
    if (BoolOr(spec, "add_prefix_space", true)) {
      step.kind = Step::Kind::kPrefixSpace;
      steps_.push_back(step);
    }
    if (BoolOr(spec, "use_regex", true)) {
      Step split;
      TESSERA_ASSIGN_OR_RETURN(split.regex, Shared(kGpt2Pattern));
      steps_.push_back(std::move(split));
    }
    step.kind = Step::Kind::kByteMap;
  } else if (type == "Split") {
    TESSERA_ASSIGN_OR_RETURN(step.behavior, ParseBehavior(StringOr(spec, "behavior", "")));
    step.invert = BoolOr(spec, "invert", false);
    const auto& pattern = Member(spec, "pattern");
    if (Member(pattern, "String").is_string()) {
      step.literal = StringOr(pattern, "String", "");
      if (step.literal.empty()) return DataLoss("pre_tokenizer: Split by an empty string");
    } else if (Member(pattern, "Regex").is_string()) {
      TESSERA_ASSIGN_OR_RETURN(step.regex, Shared(StringOr(pattern, "Regex", "")));
    } else {
      return DataLoss("pre_tokenizer: Split needs a pattern of kind String or Regex");
    }
  } else if (type == "Digits") {
    step.kind = Step::Kind::kDigits;
    step.individual = BoolOr(spec, "individual_digits", false);
  } else if (type == "Whitespace") {
    step.kind = Step::Kind::kWhitespace;
  } else if (type == "WhitespaceSplit") {
    step.kind = Step::Kind::kWhitespaceSplit;
  } else if (type == "Punctuation") {
    step.kind = Step::Kind::kPunctuation;
    TESSERA_ASSIGN_OR_RETURN(step.behavior, ParseBehavior(StringOr(spec, "behavior", "Isolated")));
  } else if (type == "Metaspace") {
    step.kind = Step::Kind::kMetaspace;
    step.literal = StringOr(spec, "replacement", "\xE2\x96\x81");
    if (step.literal.empty() || CountChars(step.literal) != 1) {
      return DataLoss("pre_tokenizer: Metaspace's replacement is one character");
    }
    std::string scheme = StringOr(spec, "prepend_scheme", "");
    if (scheme.empty()) scheme = BoolOr(spec, "add_prefix_space", true) ? "always" : "never";
    step.prepend_always = scheme == "always";
    step.prepend_first = scheme == "first";
    if (!step.prepend_always && !step.prepend_first && scheme != "never") {
      return DataLoss("pre_tokenizer: prepend_scheme '{}'; known: always, first, never", scheme);
    }
    step.split = BoolOr(spec, "split", true);
  } else {
    return Unimplemented("pre_tokenizer: kind '{}' is not supported; known: {}", type, kKnown);
  }
  if (steps_.size() >= kMaxSteps) return DataLoss("pre_tokenizer: more than {} steps", kMaxSteps);
  steps_.push_back(std::move(step));
  return OkStatus();
}

void PreTokenizer::Emit(std::vector<Piece>& pieces, Behavior behavior, std::string_view text,
                        std::vector<std::string_view>* out) {
  const auto put = [&](Span s) {
    if (s.begin < s.end) out->push_back(text.substr(s.begin, s.end - s.begin));
  };
  switch (behavior) {
    case Behavior::kIsolated:
      for (const Piece& p : pieces) put(p.span);
      return;
    case Behavior::kRemoved:
      for (const Piece& p : pieces) {
        if (!p.match) put(p.span);
      }
      return;
    case Behavior::kContiguous:
      for (size_t i = 0; i < pieces.size();) {
        Span span = pieces[i].span;
        size_t j = i + 1;
        for (; j < pieces.size() && pieces[j].match == pieces[i].match; ++j) {
          span.end = pieces[j].span.end;
        }
        put(span);
        i = j;
      }
      return;
    case Behavior::kMergedWithPrevious: {
      std::vector<Span> spans;
      bool previous = false;
      for (const Piece& p : pieces) {
        if (p.match && !previous && !spans.empty()) {
          spans.back().end = p.span.end;
        } else {
          spans.push_back(p.span);
        }
        previous = p.match;
      }
      for (const Span& s : spans) put(s);
      return;
    }
    case Behavior::kMergedWithNext: {
      std::vector<Span> spans;
      bool previous = false;
      for (auto p = pieces.rbegin(); p != pieces.rend(); ++p) {
        if (p->match && !previous && !spans.empty()) {
          spans.back().begin = p->span.begin;
        } else {
          spans.push_back(p->span);
        }
        previous = p->match;
      }
      for (auto s = spans.rbegin(); s != spans.rend(); ++s) put(*s);
      return;
    }
  }
}

Status PreTokenizer::AppendSplit(const Step& step, std::string_view text,
                                 std::vector<Piece>* scratch, std::vector<std::string_view>* out) {
  auto& pieces = *scratch;
  pieces.clear();
  size_t previous = 0;
  const auto found = [&](size_t begin, size_t end) {
    if (previous != begin) pieces.push_back({{previous, begin}, false});
    pieces.push_back({{begin, end}, true});
    previous = end;
  };
  // Pieces that are single characters (or runs, where `run`) satisfying `test`.
  const auto by_char = [&](auto test, bool run) {
    for (size_t pos = 0; pos < text.size();) {
      const size_t begin = pos;
      if (!test(NextChar(text, &pos))) continue;
      while (run && pos < text.size()) {
        size_t next = pos;
        if (!test(NextChar(text, &next))) break;
        pos = next;
      }
      found(begin, pos);
    }
  };
  Behavior behavior = step.behavior;
  switch (step.kind) {
    case Step::Kind::kSplit:
      if (step.regex == nullptr) {
        for (size_t hit; (hit = text.find(step.literal, previous)) != text.npos;) {
          found(hit, hit + step.literal.size());
        }
      } else {
        Regex::Cursor cursor(*step.regex, text);
        for (Span hit;;) {
          TESSERA_ASSIGN_OR_RETURN(const bool more, cursor.Next(&hit));
          if (!more) break;
          found(hit.begin, hit.end);
        }
      }
      break;
    case Step::Kind::kDigits:
      by_char(IsNumeric, !step.individual);
      behavior = Behavior::kIsolated;
      break;
    case Step::Kind::kPunctuation: by_char(IsPunctuation, false); break;
    case Step::Kind::kWhitespaceSplit:
      by_char(IsWhiteSpace, false);
      behavior = Behavior::kRemoved;
      break;
    case Step::Kind::kWhitespace:  // \w+|[^\w\s]+
      for (size_t pos = 0; pos < text.size();) {
        const size_t begin = pos;
        const char32_t c = NextChar(text, &pos);
        if (IsWhiteSpace(c)) continue;
        const bool word = IsWordChar(c);
        while (pos < text.size()) {
          size_t next = pos;
          const char32_t d = NextChar(text, &next);
          if (IsWhiteSpace(d) || IsWordChar(d) != word) break;
          pos = next;
        }
        out->push_back(text.substr(begin, pos - begin));
      }
      return OkStatus();
    case Step::Kind::kMetaspace:
      for (size_t hit; (hit = text.find(step.literal, previous)) != text.npos;) {
        found(hit, hit + step.literal.size());
      }
      behavior = Behavior::kMergedWithNext;
      break;
    default: break;
  }
  if (previous != text.size()) pieces.push_back({{previous, text.size()}, false});
  if (step.invert) {
    for (Piece& p : pieces) p.match = !p.match;
  }
  Emit(pieces, behavior, text, out);
  return OkStatus();
}

Status PreTokenizer::Run(std::string_view utf8, bool at_start, Words* words) const {
  if (utf8.empty()) return OkStatus();
  if (steps_.empty()) {
    words->list.push_back(utf8);
    return OkStatus();
  }
  std::vector<std::string_view> current{utf8}, next;
  std::vector<Piece> scratch;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    auto& out = i + 1 == steps_.size() ? words->list : next;
    for (size_t w = 0; w < current.size(); ++w) {
      std::string_view word = current[w];
      switch (step.kind) {
        case Step::Kind::kByteMap:
          out.push_back(words->owned.emplace_back(ToByteLevel(word)));
          break;
        case Step::Kind::kPrefixSpace:
          if (!word.starts_with(' ')) word = words->owned.emplace_back(" " + std::string(word));
          out.push_back(word);
          break;
        case Step::Kind::kMetaspace: {
          std::string text;
          for (char c : word) {
            if (c == ' ') {
              text += step.literal;
            } else {
              text += c;
            }
          }
          // "First" means: this word begins the original text.
          const bool begins = at_start && w == 0 && word.data() == utf8.data();
          if ((step.prepend_always || (step.prepend_first && begins)) &&
              !text.starts_with(step.literal)) {
            text.insert(0, step.literal);
          }
          word = words->owned.emplace_back(std::move(text));
          if (step.split) {
            TESSERA_RETURN_IF_ERROR(AppendSplit(step, word, &scratch, &out));
          } else {
            out.push_back(word);
          }
          break;
        }
        default: TESSERA_RETURN_IF_ERROR(AppendSplit(step, word, &scratch, &out));
      }
    }
    if (i + 1 < steps_.size()) {
      current.swap(next);
      next.clear();
    }
  }
  return OkStatus();
}

}  // namespace tessera::text
