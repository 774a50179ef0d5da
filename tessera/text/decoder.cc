#include "tessera/text/decoder.h"

#include "tessera/text/byte_level.h"
#include "tessera/text/json_util.h"

namespace tessera::text {
namespace {

constexpr int kMaxDepth = 16;
constexpr size_t kMaxStages = 32;
constexpr std::string_view kMetaspaceChar = "\xE2\x96\x81";

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The byte of "<0xXX>", or -1.
int ByteToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = HexDigit(token[3]), low = HexDigit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string ReplaceAll(std::string_view s, std::string_view from, std::string_view to) {
  std::string out;
  size_t pos = 0;
  for (size_t hit; (hit = s.find(from, pos)) != s.npos; pos = hit + from.size()) {
    out += s.substr(pos, hit - pos);
    out += to;
  }
  out += s.substr(pos);
  return out;
}

}  // namespace

Decoder::Decoder() { stages_.push_back({}); }

void Decoder::Add(Stage stage) {
  stage.fused =
      !stages_.empty() && (stages_.back().fused || stages_.back().kind == Stage::Kind::kFuse ||
                           stages_.back().kind == Stage::Kind::kByteLevel);
  stages_.push_back(std::move(stage));
}

Result<Decoder> Decoder::FromJson(const nlohmann::json& spec) {
  Decoder decoder;
  if (spec.is_null()) return decoder;
  decoder.stages_.clear();
  TESSERA_RETURN_IF_ERROR(decoder.Append(spec, 0));
  return decoder;
}

Decoder Decoder::ByteLevel() {
  Decoder decoder;
  decoder.stages_.clear();
  decoder.Add({.kind = Stage::Kind::kByteLevel, .from = {}, .to = {}});
  return decoder;
}

Decoder Decoder::SentencePiece(bool strip_leading_space) {
  Decoder decoder;
  decoder.stages_.clear();
  decoder.Add({.kind = Stage::Kind::kReplace, .from = std::string(kMetaspaceChar), .to = " "});
  decoder.Add({.kind = Stage::Kind::kByteFallback, .from = {}, .to = {}});
  decoder.Add({.kind = Stage::Kind::kFuse, .from = {}, .to = {}});
  if (strip_leading_space) {
    decoder.Add({.kind = Stage::Kind::kStrip, .from = " ", .to = {}, .start = 1});
  }
  return decoder;
}

Status Decoder::Append(const nlohmann::json& spec, int depth) {
  if (depth > kMaxDepth) return DataLoss("decoder: sequences nested deeper than {}", kMaxDepth);
  const std::string type = StringOr(spec, "type", "");
  Stage stage;
  if (type == "Sequence") {
    const auto& list = Member(spec, "decoders");
    if (!list.is_array()) return DataLoss("decoder: Sequence without a list 'decoders'");
    for (const auto& item : list) TESSERA_RETURN_IF_ERROR(Append(item, depth + 1));
    return OkStatus();
  }
  if (type == "ByteLevel") {
    stage.kind = Stage::Kind::kByteLevel;
  } else if (type == "ByteFallback") {
    stage.kind = Stage::Kind::kByteFallback;
  } else if (type == "Fuse") {
    stage.kind = Stage::Kind::kFuse;
  } else if (type == "Strip") {
    stage.kind = Stage::Kind::kStrip;
    stage.from = StringOr(spec, "content", " ");
    const auto& start = Member(spec, "start");
    const auto& stop = Member(spec, "stop");
    const auto count = [](const nlohmann::json& v) {
      return v.is_number_unsigned() && v.get<uint64_t>() < 1 << 20 ? v.get<int>() : 0;
    };
    stage.start = count(start), stage.stop = count(stop);
    if (CountChars(stage.from) != 1) return DataLoss("decoder: Strip's content is one character");
  } else if (type == "Replace") {
    stage.kind = Stage::Kind::kReplace;
    stage.from = StringOr(Member(spec, "pattern"), "String", "");
    stage.to = StringOr(spec, "content", "");
    if (stage.from.empty()) {
      return Unimplemented("decoder: Replace is supported for a non-empty pattern of kind String");
    }
  } else if (type == "Metaspace") {
    stage.kind = Stage::Kind::kMetaspace;
    stage.from = StringOr(spec, "replacement", kMetaspaceChar);
    if (CountChars(stage.from) != 1) {
      return DataLoss("decoder: Metaspace's replacement is one character");
    }
    const std::string scheme = StringOr(spec, "prepend_scheme", "");
    stage.prepend = scheme.empty() ? BoolOr(spec, "add_prefix_space", true) : scheme != "never";
  } else {
    return Unimplemented(
        "decoder: kind '{}' is not supported; known: Sequence, ByteLevel, ByteFallback, Fuse, "
        "Strip, Replace, Metaspace",
        type);
  }
  if (stages_.size() == kMaxStages) return DataLoss("decoder: more than {} stages", kMaxStages);
  Add(std::move(stage));
  return OkStatus();
}

std::string Decoder::TokenBytes(std::string_view token) const {
  std::string text(token);
  for (const Stage& stage : stages_) {
    switch (stage.kind) {
      case Stage::Kind::kByteLevel:
        if (auto bytes = FromByteLevel(text)) text = *std::move(bytes);
        return text;
      case Stage::Kind::kByteFallback:
        if (const int byte = ByteToken(text); byte >= 0)
          return std::string(1, static_cast<char>(byte));
        break;
      case Stage::Kind::kReplace: text = ReplaceAll(text, stage.from, stage.to); break;
      case Stage::Kind::kMetaspace: text = ReplaceAll(text, stage.from, " "); break;
      default: break;
    }
  }
  return text;
}

DecodeStream::DecodeStream(const Decoder& decoder)
    : decoder_(&decoder), states_(decoder.stages_.size()) {}

void DecodeStream::Push(std::string_view token, std::string* out) { Run(0, token, out); }

std::string DecodeStream::StripToken(const Decoder::Stage& stage, std::string_view token) const {
  for (int i = 0; i < stage.start && token.starts_with(stage.from); ++i) {
    token.remove_prefix(stage.from.size());
  }
  for (int i = 0; i < stage.stop && token.ends_with(stage.from); ++i) {
    token.remove_suffix(stage.from.size());
  }
  return std::string(token);
}

void DecodeStream::FlushBytes(size_t i, std::string* out) {
  std::string bytes;
  bytes.swap(states_[i].held);
  if (bytes.empty()) return;
  if (!FindInvalidUtf8(bytes)) {
    Run(i + 1, bytes, out);
  } else {  // the reference replaces every byte of a run that is not valid as a whole
    for (size_t k = 0; k < bytes.size(); ++k) Run(i + 1, "\xEF\xBF\xBD", out);
  }
}

void DecodeStream::Run(size_t i, std::string_view token, std::string* out) {
  using Kind = Decoder::Stage::Kind;
  if (i == states_.size()) {
    out->append(token);
    return;
  }
  const Decoder::Stage& stage = decoder_->stages_[i];
  State& state = states_[i];
  switch (stage.kind) {
    case Kind::kJoin:
      if (state.started) out->push_back(' ');
      state.started = true;
      Run(i + 1, token, out);
      return;
    case Kind::kFuse: Run(i + 1, token, out); return;
    case Kind::kByteLevel: {
      std::string text;
      if (stage.fused) {
        state.held += token;
        return;
      }
      const auto bytes = FromByteLevel(token);
      state.lossy.Push(bytes ? std::string_view(*bytes) : token, &text);
      if (!text.empty()) Run(i + 1, text, out);
      return;
    }
    case Kind::kByteFallback:
      if (stage.fused) {
        state.held += token;
      } else if (const int byte = ByteToken(token); byte >= 0) {
        state.held.push_back(static_cast<char>(byte));
      } else {
        FlushBytes(i, out);
        Run(i + 1, token, out);
      }
      return;
    case Kind::kReplace:
      if (stage.fused && CountChars(stage.from) > 1) {
        state.held += token;
      } else {
        Run(i + 1, ReplaceAll(token, stage.from, stage.to), out);
      }
      return;
    case Kind::kMetaspace: {
      const bool first = !state.started;
      if (!stage.fused) state.started = true;
      if (stage.fused) {
        state.held += token;
      } else {
        Run(i + 1, ReplaceAll(token, stage.from, first && stage.prepend ? "" : " "), out);
      }
      return;
    }
    case Kind::kStrip:
      if (!stage.fused) {
        Run(i + 1, StripToken(stage, token), out);
      } else if (stage.stop > 0) {
        state.held += token;
      } else {
        while (!state.past_start && !token.empty()) {
          if (state.stripped < stage.start && token.starts_with(stage.from)) {
            token.remove_prefix(stage.from.size());
            ++state.stripped;
          } else {
            state.past_start = true;
          }
        }
        if (!token.empty()) Run(i + 1, token, out);
      }
      return;
  }
}

void DecodeStream::Finish(std::string* out) {
  using Kind = Decoder::Stage::Kind;
  for (size_t i = 0; i < states_.size(); ++i) {
    const Decoder::Stage& stage = decoder_->stages_[i];
    State& state = states_[i];
    if (stage.kind == Kind::kByteLevel) {
      std::string text;
      if (stage.fused) {
        const auto bytes = FromByteLevel(state.held);
        state.lossy.Push(bytes ? *bytes : state.held, &text);
      }
      state.lossy.Finish(&text);
      if (!text.empty()) Run(i + 1, text, out);
    } else if (stage.kind == Kind::kByteFallback && !stage.fused) {
      FlushBytes(i, out);
    } else if (!state.held.empty()) {  // a stage that needed its whole input
      std::string held;
      held.swap(state.held);
      if (stage.kind == Kind::kReplace) held = ReplaceAll(held, stage.from, stage.to);
      if (stage.kind == Kind::kMetaspace) {
        held = ReplaceAll(held, stage.from, stage.prepend ? "" : " ");
      }
      if (stage.kind == Kind::kStrip) held = StripToken(stage, held);
      if (stage.kind == Kind::kByteFallback) {
        const int byte = ByteToken(held);
        if (byte >= 0)
          held = byte < 0x80 ? std::string(1, static_cast<char>(byte)) : "\xEF\xBF\xBD";
      }
      Run(i + 1, held, out);
    }
    state = State{};
  }
}

}  // namespace tessera::text
