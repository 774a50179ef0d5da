// Tokenizers in GGUF files against the same vocabularies in their own files: real ones from
// ../shared/data, and the room's tiny ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tessera/formats/gguf_testing.h"
#include "tessera/formats/json.h"
#include "tessera/formats/test_util.h"
#include "tessera/text/chat_template.h"
#include "tessera/text/tokenizer.h"

namespace tessera::text {
namespace {

namespace fs = std::filesystem;
using gguf_testing::Builder;
using nlohmann::json;

fs::path Shared() { return fs::path(TESSERA_SOURCE_DIR) / "../shared/data/tokenizers"; }

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::unique_ptr<Tokenizer> Load(const fs::path& path) {
  auto loaded = LoadTokenizer(path);
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  return loaded.ok() ? *std::move(loaded) : nullptr;
}

// The texts of the published vectors, and every run of 40 bytes of them that is UTF-8.
std::vector<std::string> Texts() {
  std::vector<std::string> texts;
  for (const char* name : {"gpt-2", "llama-spm", "qwen2", "llama-bpe"}) {
    const std::string all =
        ReadFile(Shared() / "test-vectors" / (std::string("ggml-vocab-") + name + ".gguf.inp"));
    constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
    for (size_t pos = 0; pos < all.size();) {
      const size_t end = std::min(all.find(kSeparator, pos), all.size());
      texts.push_back(all.substr(pos, end - pos));
      pos = end + kSeparator.size();
    }
    for (size_t pos = 0; pos + 40 < all.size(); pos += 7) texts.push_back(all.substr(pos, 40));
  }
  for (const char* special : {"<|im_start|>user\nhi<|im_end|>", "<s>a</s> b", "x<|eot_id|> y",
                              "<|endoftext|>", "a<think> b</think>", "  e\xcc\x81  "}) {
    texts.push_back(special);
  }
  return texts;
}

void ExpectSame(const Tokenizer& gguf, const Tokenizer& own, size_t least) {
  size_t count = 0;
  for (const std::string& text : Texts()) {
    for (const bool special : {true, false}) {
      const auto expected = own.Encode(text, {.parse_special = special});
      if (!expected.ok()) continue;  // not UTF-8
      const auto ids = gguf.Encode(text, {.parse_special = special});
      ASSERT_TRUE(ids.ok()) << ids.status().message();
      ASSERT_EQ(*ids, *expected) << text;
      ASSERT_EQ(gguf.Decode(*ids), own.Decode(*ids)) << text;
      ++count;
    }
  }
  EXPECT_GE(count, least);
}

// A tokenizer of ours as the public converter writes it: kinds from what IsSpecial says.
Builder Gpt2(const Tokenizer& own, const std::string& pre, const std::vector<std::string>& merges,
             int32_t padded, const json& added = {}) {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int32_t id = 0; id < padded; ++id) {
    const auto token = own.IdToToken(id);
    tokens.push_back(token ? *token : "[PAD" + std::to_string(id) + "]");
    types.push_back(!token ? 5 : own.IsSpecial(id) ? 3 : added.contains(*token) ? 4 : 1);
  }
  Builder b;
  b.String("general.architecture", "qwen2").String("tokenizer.ggml.model", "gpt2");
  b.String("tokenizer.ggml.pre", pre);
  b.Strings("tokenizer.ggml.tokens", tokens).Ints("tokenizer.ggml.token_type", types);
  b.Strings("tokenizer.ggml.merges", merges);
  return b;
}

std::vector<std::string> MergeLines(const fs::path& path) {
  std::vector<std::string> lines;
  std::istringstream file(ReadFile(path));
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && !line.starts_with("#version")) lines.push_back(line);
  }
  return lines;
}

TEST(GgufTokenizer, RealGgufVocabularies) {
  if (!fs::exists(Shared())) GTEST_SKIP() << "no shared data at " << Shared();
  const fs::path vectors = Shared() / "test-vectors";
  const auto gpt2 = Load(vectors / "ggml-vocab-gpt-2.gguf");
  ASSERT_TRUE(gpt2);
  ExpectSame(*gpt2, *Load(Shared() / "GPT-2"), 1000);
  EXPECT_EQ(gpt2->bos_id(), 50256);
  EXPECT_EQ(*gpt2->Encode("a", {.add_special_tokens = true}), *gpt2->Encode("a"));
  const auto llama = Load(vectors / "ggml-vocab-llama-spm.gguf");
  ASSERT_TRUE(llama);
  ExpectSame(*llama, *Load(Shared() / "Llama-2/tokenizer.model"), 1000);
  EXPECT_EQ(llama->eos_id(), 2);
  EXPECT_EQ(llama->Encode("a", {.add_special_tokens = true})->front(), 1);
}

TEST(GgufTokenizer, QwenWrittenAsGguf) {
  if (!fs::exists(Shared())) GTEST_SKIP() << "no shared data at " << Shared();
  const fs::path folder = Shared() / "SDAR-4B-Chat";
  const auto own = Load(folder);
  Builder b = Gpt2(*own, "qwen2", MergeLines(folder / "merges.txt"), own->vocab_size() + 10,
                   *ReadJsonFile((folder / "added_tokens.json").string()));
  b.U32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(*own->TokenToId("<|im_end|>")));
  const TempFolder temp;
  const auto gguf = Load(temp.Write("m.gguf", b.Build()));
  ASSERT_TRUE(gguf);
  ExpectSame(*gguf, *own, 1000);
  EXPECT_EQ(gguf->eos_id(), own->TokenToId("<|im_end|>"));
  EXPECT_EQ(gguf->IdToToken(own->vocab_size() + 3), std::nullopt);
}

// The converter's merges of a rank file are those that make each token of two others.
TEST(GgufTokenizer, Llama3WrittenAsGguf) {
  if (!fs::exists(Shared())) GTEST_SKIP() << "no shared data at " << Shared();
  const auto own = Load(Shared() / "Llama-3/tokenizer.model");
  std::vector<std::string> merges;
  for (int32_t id = 256; id < 128000; ++id) {
    // All splits in two known tokens, best pair last decided by rank of the parts.
    const std::string token = *own->IdToToken(id);
    std::vector<std::pair<std::pair<int32_t, int32_t>, std::string>> splits;
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = own->TokenToId(token.substr(0, cut));
      const auto right = own->TokenToId(token.substr(cut));
      if (left && right) {
        splits.push_back({{*left, *right}, token.substr(0, cut) + " " + token.substr(cut)});
      }
    }
    std::sort(splits.begin(), splits.end());
    for (auto& split : splits) merges.push_back(std::move(split.second));
  }
  Builder b = Gpt2(*own, "llama-bpe", merges, own->vocab_size());
  b.U32("tokenizer.ggml.bos_token_id", 128000).U32("tokenizer.ggml.eos_token_id", 128009);
  const TempFolder temp;
  const auto gguf = Load(temp.Write("m.gguf", b.Build()));
  ASSERT_TRUE(gguf);
  ExpectSame(*gguf, *own, 1000);
  EXPECT_EQ(gguf->Encode("a", {.add_special_tokens = true})->front(), 128000);
}

// Small enough to be in the tree: words over a byte alphabet of five.
Builder Tiny(const std::string& pre = "gpt-2") {
  Builder b;
  b.String("general.architecture", "llama").String("tokenizer.ggml.model", "gpt2");
  b.String("tokenizer.ggml.pre", pre);
  b.Strings("tokenizer.ggml.tokens", {"a", "b", "c", "\u0120", "ab", "<s>", "<t>", "[PAD7]"});
  b.Ints("tokenizer.ggml.token_type", {1, 1, 1, 1, 1, 3, 4, 5});
  b.Strings("tokenizer.ggml.merges", {"a b"});
  return b;
}

std::string Written(const TempFolder& folder, const Builder& b) {
  return folder.Write("tiny.gguf", b.Build());
}

TEST(GgufTokenizer, KindsOfTokens) {
  const TempFolder folder;
  Builder b = Tiny("llama-bpe");
  b.U32("tokenizer.ggml.bos_token_id", 5).U32("tokenizer.ggml.eos_token_id", 5);
  b.Bool("tokenizer.ggml.add_eos_token", true);
  b.String("tokenizer.chat_template", "{{ bos_token }}{{ messages[0].content }}");
  const auto t = Load(Written(folder, b));
  ASSERT_TRUE(t);
  EXPECT_EQ(*t->Encode("ab c<s><t>"), (std::vector<int32_t>{4, 3, 2, 5, 6}));
  EXPECT_EQ(*t->Encode("a", {.add_special_tokens = true}), (std::vector<int32_t>{5, 0, 5}));
  EXPECT_TRUE(t->IsSpecial(5));
  EXPECT_FALSE(t->IsSpecial(6));
  EXPECT_EQ(t->IdToToken(7), std::nullopt);
  const auto chat = LoadChatTemplate(folder / "tiny.gguf");
  ASSERT_TRUE(chat.ok()) << chat.status().message();
  const auto text = chat->Render({{"messages", {{{"role", "user"}, {"content", "ab"}}}}});
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_EQ(*text, "<s>ab");
  ExpectError(LoadChatTemplate(folder / "tiny.gguf", "tool_use").status(), StatusCode::kNotFound,
              {"tiny.gguf", "tokenizer.chat_template.tool_use"});
}

TEST(GgufTokenizer, PiecesWithScoresAndBytes) {
  const TempFolder folder;
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  for (int i = 0; i < 256; ++i) {
    tokens.push_back(fmt::format("<0x{:02X}>", i));
    types.push_back(6);
  }
  for (const char* piece : {"\u2581", "a", "b",
                            "\u2581"
                            "a",
                            "ab",
                            "\u2581"
                            "ab"}) {
    tokens.push_back(piece);
    types.push_back(1);
  }
  std::vector<float> scores(tokens.size(), 0);
  for (size_t i = 259; i < scores.size(); ++i) scores[i] = -static_cast<float>(scores.size() - i);
  const auto build = [&](const std::vector<float>& s) {
    Builder b;
    b.String("tokenizer.ggml.model", "llama").Strings("tokenizer.ggml.tokens", tokens);
    b.Ints("tokenizer.ggml.token_type", types).Floats("tokenizer.ggml.scores", s);
    b.U32("tokenizer.ggml.bos_token_id", 1).U32("tokenizer.ggml.eos_token_id", 2);
    return b;
  };
  const auto t = Load(Written(folder, build(scores)));
  ASSERT_TRUE(t);
  EXPECT_EQ(*t->Encode("ab"), std::vector<int32_t>{264});
  EXPECT_EQ(*t->Encode("ab!", {.add_special_tokens = true}),
            (std::vector<int32_t>{1, 264, 3 + '!'}));
  EXPECT_EQ(t->Decode(*t->Encode("ab \u00e9")), "ab \u00e9");
  const auto bare =
      Load(Written(folder, build(scores).Bool("tokenizer.ggml.add_space_prefix", false)));
  EXPECT_EQ(*bare->Encode("ab"), std::vector<int32_t>{263});
  scores[4] = std::nanf("");
  ExpectError(LoadTokenizer(Written(folder, build(scores))).status(), StatusCode::kDataLoss,
              {"tiny.gguf", "token 4"});
  scores.pop_back();
  ExpectError(LoadTokenizer(Written(folder, build(scores))).status(), StatusCode::kDataLoss,
              {"tiny.gguf", "scores"});
}

TEST(GgufTokenizer, RefusesWhatItCannotTokenise) {
  const TempFolder folder;
  const auto status = [&](const Builder& b) { return LoadTokenizer(Written(folder, b)).status(); };
  ExpectError(status(Builder()), StatusCode::kNotFound, {"tiny.gguf", "holds no tokenizer"});
  ExpectError(status(Builder().String("tokenizer.ggml.model", "bert")), StatusCode::kUnimplemented,
              {"tiny.gguf", "'bert'", "gpt2, llama"});
  ExpectError(status(Tiny("falcon")), StatusCode::kUnimplemented,
              {"tiny.gguf", "'falcon'", "llama-bpe", "qwen2"});
  ExpectError(status(Tiny().U32("tokenizer.ggml.bos_token_id", 8)), StatusCode::kDataLoss,
              {"bos_token_id", "8"});
  const auto with = [](std::vector<std::string> tokens, std::vector<int32_t> types,
                       std::vector<std::string> merges) {
    Builder b;
    b.String("tokenizer.ggml.model", "gpt2").String("tokenizer.ggml.pre", "gpt-2");
    b.Strings("tokenizer.ggml.tokens", tokens).Ints("tokenizer.ggml.token_type", types);
    return b.Strings("tokenizer.ggml.merges", merges);
  };
  EXPECT_TRUE(status(with({"a"}, {1}, {})).ok());
  ExpectError(status(with({}, {}, {})), StatusCode::kDataLoss, {"tokens"});
  ExpectError(status(with({"a", "b"}, {1}, {})), StatusCode::kDataLoss, {"token_type"});
  ExpectError(status(with({"a"}, {7}, {})), StatusCode::kDataLoss, {"token 0", "type 7"});
  ExpectError(status(with({"\xff"}, {1}, {})), StatusCode::kDataLoss, {"token 0", "UTF-8"});
  ExpectError(status(with({"a"}, {1}, {"aa"})), StatusCode::kDataLoss, {"merge 0", "'aa'"});
  EXPECT_FALSE(status(with({"a"}, {1}, {"a b"})).ok());
}

}  // namespace
}  // namespace tessera::text
