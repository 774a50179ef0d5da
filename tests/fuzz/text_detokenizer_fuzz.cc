// Any ids, cut anywhere: streaming and whole decoding agree and give valid UTF-8.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "tessera/text/incremental_decoder.h"
#include "tessera/text/tokenizer.h"
#include "tessera/text/unicode.h"

namespace {

// A model whose 256 byte tokens come first, then a few words; `decoder` as in tokenizer.json.
std::string Model(bool byte_level, const std::string& decoder) {
  std::string vocab;
  const auto add = [&](const std::string& token, int id) {
    vocab += fmt::format("{}\"{}\":{}", vocab.empty() ? "" : ",", token, id);
  };
  int next = 0;
  for (int b = 0; b < 256; ++b) {
    const bool self = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    if (byte_level) {
      add(fmt::format("\\u{:04x}", self ? b : 256 + next++), b);
    } else {
      add(fmt::format("<0x{:02X}>", b), b);
    }
  }
  add("\\u2581the", 256), add("\\u2581", 257), add("\\ud83e\\udd99", 258), add("  ", 259);
  return fmt::format(R"({{"model":{{"type":"BPE","vocab":{{{}}},"merges":[]}},"decoder":{},
    "added_tokens":[{{"id":260,"content":"<s>","special":true}}]}})",
                     vocab, decoder);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* tokenizers = [] {
    auto* list = new std::vector<std::unique_ptr<tessera::text::Tokenizer>>();
    for (const auto& [byte_level, decoder] : std::vector<std::pair<bool, std::string>>{
             {true, R"({"type":"ByteLevel"})"},
             {false,
              R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"\u2581"},
               "content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ",
               "start":1,"stop":0}]})"},
             {false, R"({"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Metaspace"},
               {"type":"Fuse"},{"type":"Strip","content":" ","start":2,"stop":2},
               {"type":"Replace","pattern":{"String":"  "},"content":"_"}]})"},
             {false, "null"}}) {
      auto loaded = tessera::text::ParseTokenizerJson(Model(byte_level, decoder), "fuzz");
      if (!loaded.ok()) std::abort();
      list->push_back(*std::move(loaded));
    }
    return list;
  }();
  if (size == 0) return 0;
  const auto& t = *(*tokenizers)[data[0] % tokenizers->size()];
  const bool skip = (data[0] & 0x80) != 0;
  std::vector<int32_t> ids;
  std::vector<bool> cuts;
  for (size_t i = 1; i + 1 < size; i += 2) {
    ids.push_back(static_cast<int32_t>(data[i] | (data[i + 1] & 1) << 8));
    cuts.push_back((data[i + 1] & 2) != 0);
  }
  const std::string whole = t.Decode(ids, skip);
  if (tessera::text::FindInvalidUtf8(whole)) std::abort();
  tessera::text::IncrementalDecoder decoder(t, skip);
  std::string text;
  std::vector<int32_t> batch;
  for (size_t i = 0; i < ids.size(); ++i) {
    batch.push_back(ids[i]);
    if (!cuts[i]) continue;
    const std::string piece = decoder.Push(batch);
    if (tessera::text::FindInvalidUtf8(piece)) std::abort();
    text += piece;
    batch.clear();
  }
  text += decoder.Push(batch);
  text += decoder.Finish();
  if (text != whole) std::abort();
  return 0;
}
