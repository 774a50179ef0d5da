#include "tessera/text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tessera/text/incremental_decoder.h"
#include "tessera/text/regex.h"
#include "tessera/text/unicode.h"

namespace tessera::text {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

fs::path Testdata() { return fs::path(TESSERA_SOURCE_DIR) / "tessera/text/testdata"; }

std::unique_ptr<Tokenizer> Tiny(const std::string& name) {
  auto loaded = LoadTokenizer(Testdata() / (name + ".json"));
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  return loaded.ok() ? *std::move(loaded) : nullptr;
}

// A folder that is empty at the start and removed at the end.
class Folder {
 public:
  explicit Folder(const std::string& name) : path_(fs::path(testing::TempDir()) / name) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  fs::path path_;
};

class TinyTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Files, TinyTest, testing::Values("tiny_bytes", "tiny_spm"));

TEST_P(TinyTest, EncodesAndDecodesAsTheReference) {
  const auto t = Tiny(GetParam());
  ASSERT_TRUE(t);
  const json expected = json::parse(ReadFile(Testdata() / "tiny_expected.json"));
  ASSERT_GE(expected[GetParam()].size(), 200u);
  for (const auto& row : expected[GetParam()]) {
    const auto text = row[0].get<std::string>();
    EXPECT_EQ(*t->Encode(text), row[1].get<std::vector<int32_t>>()) << row[0];
    const auto full = *t->Encode(text, {.add_special_tokens = true});
    EXPECT_EQ(full, row[2].get<std::vector<int32_t>>()) << row[0];
    EXPECT_EQ(t->Decode(full), row[3].get<std::string>()) << row[0];
    EXPECT_EQ(t->Decode(full, true), row[4].get<std::string>()) << row[0];
  }
  for (const auto& row : expected[GetParam() + "_ids"]) {
    const auto ids = row[0].get<std::vector<int32_t>>();
    EXPECT_EQ(t->Decode(ids), row[1].get<std::string>()) << row[0];
  }
}

TEST_P(TinyTest, StreamingEqualsWholeForEverySplit) {
  const auto t = Tiny(GetParam());
  ASSERT_TRUE(t);
  const json expected = json::parse(ReadFile(Testdata() / "tiny_expected.json"));
  IncrementalDecoder one_by_one(*t);
  for (const auto& row : expected[GetParam() + "_ids"]) {
    const auto ids = row[0].get<std::vector<int32_t>>();
    const std::string whole = t->Decode(ids);
    std::string text;
    for (int32_t id : ids) {
      const std::string piece = one_by_one.Push(id);
      EXPECT_FALSE(FindInvalidUtf8(piece));
      text += piece;
    }
    text += one_by_one.Finish();
    EXPECT_EQ(text, whole) << row[0];
    for (size_t cut = 0; cut <= ids.size(); ++cut) {
      IncrementalDecoder d(*t);
      const std::span<const int32_t> all(ids);
      std::string parts = d.Push(all.first(cut));
      parts += d.Push(all.subspan(cut));
      EXPECT_EQ(parts + d.Finish(), whole) << row[0] << " cut at " << cut;
    }
  }
}

TEST(Tokenizer, SpecialTokensAreTextOnRequest) {
  const auto t = Tiny("tiny_bytes");
  const int32_t bos = *t->TokenToId("<|bos|>");
  EXPECT_TRUE(t->IsSpecial(bos));
  EXPECT_FALSE(t->IsSpecial(*t->TokenToId("<think>")));
  EXPECT_EQ(*t->Encode("<|bos|>"), std::vector<int32_t>{bos});
  const auto plain = *t->Encode("<|bos|>", {.parse_special = false});
  EXPECT_GT(plain.size(), 1u);
  EXPECT_EQ(t->Decode(plain), "<|bos|>");
  EXPECT_EQ(t->IdToToken(bos), "<|bos|>");
  EXPECT_EQ(t->TokenBytes(bos), "<|bos|>");
  EXPECT_EQ(t->IdToToken(-1), std::nullopt);
  EXPECT_EQ(t->IdToToken(t->vocab_size()), std::nullopt);
  EXPECT_EQ(t->TokenBytes(INT32_MAX), "");
  EXPECT_EQ(t->Decode(std::vector<int32_t>{-5, INT32_MAX, INT32_MIN}), "");
  EXPECT_EQ(t->TokenBytes((*t->Encode(" the"))[0]), " the");
}

TEST(Tokenizer, InvalidUtf8IsRefusedWithItsOffset) {
  const auto t = Tiny("tiny_bytes");
  const auto status = t->Encode("abc\xE4\xBD").status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("byte 3"), std::string::npos) << status.message();
  for (const char* bad : {"\xC0\x80", "\xED\xA0\x80", "\xF5\x80\x80\x80", "\x80", "\xE0\x80\x80"}) {
    EXPECT_FALSE(t->Encode(bad).ok());
  }
}

TEST(Tokenizer, LongWordsTakeLogLinearTime) {
  for (const char* name : {"tiny_bytes", "tiny_spm"}) {
    const auto t = Tiny(name);
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& unit : {std::string("a"), std::string("the"), std::string("\u0301")}) {
      std::string text;
      while (text.size() < 1'000'000) text += unit;
      const auto ids = t->Encode(text);
      ASSERT_TRUE(ids.ok()) << ids.status().message();
      EXPECT_EQ(t->Decode(*ids).size(), text.size());
    }
    const std::string spaces(1'000'000, ' ');
    EXPECT_TRUE(t->Encode(spaces).ok());
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
  }
}

TEST(Tokenizer, FolderErrorsNameTheFolderAndTheAcceptedSets) {
  Folder folder("tokenizer_none");
  const auto status = LoadTokenizer(folder.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  for (const char* part :
       {"tokenizer_none", "tokenizer.json", "merges.txt", "tokenizer.model", "tokenizer.bin"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
}

TEST(Tokenizer, VocabAndMergesWithSidecar) {
  Folder folder("tokenizer_classic");
  folder.Write("vocab.json", R"({"a":0,"b":1,"ab":2,"\u0120":3,"c":4,"<|endoftext|>":5})");
  folder.Write("merges.txt", "#version: 0.2\na b\n");
  folder.Write(
      "tokenizer_config.json",
      R"({"tokenizer_class":"Qwen2Tokenizer","eos_token":"<|im_end|>","added_tokens_decoder":
                {"7":{"content":"<|im_end|>","special":true}}})");
  auto t = LoadTokenizer(folder.path());
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(*(*t)->Encode("ab c<|im_end|>"), (std::vector<int32_t>{2, 3, 4, 7}));
  EXPECT_EQ((*t)->eos_id(), 7);
  EXPECT_EQ((*t)->vocab_size(), 8);
  EXPECT_EQ((*t)->IdToToken(6), std::nullopt);  // a gap
  folder.Write("tokenizer_config.json", R"({"tokenizer_class":"MysteryTokenizer"})");
  EXPECT_EQ(LoadTokenizer(folder.path()).status().code(), StatusCode::kUnimplemented);
  folder.Write("tokenizer_config.json", "{}");
  folder.Write("merges.txt", "a b\na zz\n");
  const auto status = LoadTokenizer(folder.path()).status();
  EXPECT_NE(status.message().find("'zz'"), std::string::npos) << status.message();
  folder.Write("merges.txt", "a b c\n");
  EXPECT_FALSE(LoadTokenizer(folder.path()).ok());
}

TEST(Tokenizer, TiktokenRanks) {
  Folder folder("tokenizer_ranks");
  // a, b, c, ab, abc, and "bc" with a better rank than "ab" has none: tiktoken merges by rank.
  folder.Write("tokenizer.model", "YQ== 0\nYg== 1\nYw== 2\nYmM= 3\nYWI= 4\nYWJj 5\n");
  auto t = LoadTokenizer(folder.path());
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(*(*t)->Encode("abc"), std::vector<int32_t>{5});
  EXPECT_EQ(*(*t)->Encode("abcab"), (std::vector<int32_t>{5, 4}));
  EXPECT_EQ(*(*t)->Encode("abbc"), (std::vector<int32_t>{4, 3}));
  folder.Write("tokenizer.model", "YQ== 0\nnonsense\n");
  EXPECT_NE(LoadTokenizer(folder.path()).status().message().find("line 2"), std::string::npos);
  folder.Write("tokenizer.model", "YQ== 99999999\n");
  EXPECT_FALSE(LoadTokenizer(folder.path()).ok());
  folder.Write("tokenizer.model", "not a model");
  EXPECT_FALSE(LoadTokenizer(folder.path()).ok());
}

TEST(Tokenizer, Llama2cFile) {
  std::string bytes;
  const auto put = [&](auto value) { bytes.append(reinterpret_cast<const char*>(&value), 4); };
  const auto token = [&](const std::string& s, float score) {
    put(score), put(static_cast<int32_t>(s.size()));
    bytes += s;
  };
  put(int32_t{8});
  token("<unk>", 0), token("\n<s>\n", 0), token("\n</s>\n", 0);
  for (int b = 0; b < 256; ++b) token(fmt::format("<0x{:02X}>", b), 0);
  token(" ", -1), token("a", -2), token("b", -3), token(" a", -0.5F), token("ab", -0.25F);
  Folder folder("tokenizer_llama2c");
  folder.Write("tokenizer.bin", bytes);
  auto t = LoadTokenizer(folder.path());
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(*(*t)->Encode("ab"), (std::vector<int32_t>{259, 263}));
  EXPECT_EQ(*(*t)->Encode("a", {.add_special_tokens = true}), (std::vector<int32_t>{1, 262}));
  EXPECT_EQ(*(*t)->Encode("\xC3\xA9"), (std::vector<int32_t>{259, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ((*t)->Decode(*(*t)->Encode("ab\xC3\xA9")), "ab\xC3\xA9");
  EXPECT_EQ((*t)->bos_id(), 1);
  folder.Write("tokenizer.bin", bytes.substr(0, bytes.size() - 1));
  EXPECT_EQ(LoadTokenizer(folder.path()).status().code(), StatusCode::kDataLoss);
}

TEST(Tokenizer, HostileTokenizerJson) {
  const std::string head = R"({"model":{"type":"BPE","vocab":)";
  const auto refused = [](const std::string& text) {
    const auto got = ParseTokenizerJson(text, "x.json");
    EXPECT_FALSE(got.ok()) << text.substr(0, 200);
    return got.ok() ? "" : got.status().message();
  };
  refused("");
  refused("[]");
  refused("{}");
  refused(R"({"model":{"type":"Unigram"}})");
  refused(std::string(1 << 20, '['));
  refused(head + R"({"a":-1},"merges":[]}})");
  refused(head + R"({"a":2147483648},"merges":[]}})");
  refused(head + R"({"a":99999999999999999999},"merges":[]}})");
  refused(head + R"({"a":1.5},"merges":[]}})");
  refused(head + R"({"a":"0"},"merges":[]}})");
  EXPECT_NE(refused(head + R"({"a":0,"b":0},"merges":[]}})").find("both have id 0"),
            std::string::npos);
  refused(head + R"({"a":0},"merges":["a"]}})");
  refused(head + R"({"a":0},"merges":[["a","b","c"]]}})");
  refused(head + R"({"a":0},"merges":["a a"]}})");
  refused(head + R"({"a":0},"merges":[],"unk_token":"zz"}})");
  refused(head + R"({"a":0},"merges":[]},"pre_tokenizer":{"type":"Nonsense"}})");
  refused(head + R"({"a":0},"merges":[]},"pre_tokenizer":{"type":"Split","behavior":"Isolated",
                     "pattern":{"Regex":"(("}}})");
  refused(head + R"({"a":0},"merges":[]},"decoder":{"type":"Nonsense"}})");
  refused(head + R"({"a":0},"merges":[]},"normalizer":{"type":"Precompiled"}})");
  refused(head + R"({"a":0},"merges":[]},"added_tokens":[{"id":-4,"content":"x"}]})");
  refused(head + R"({"a":0},"merges":[]},"added_tokens":[{"id":0,"content":"x"}]})");
  std::string deep, close;
  for (int i = 0; i < 40; ++i) deep += R"({"type":"Sequence","normalizers":[)", close += "]}";
  refused(head + R"({"a":0},"merges":[]},"normalizer":)" + deep + close + "}");
  // Gaps are fine.
  auto gaps = ParseTokenizerJson(head + R"({"a":0,"b":1000},"merges":[]}})", "x");
  ASSERT_TRUE(gaps.ok()) << gaps.status().message();
  EXPECT_EQ((*gaps)->vocab_size(), 1001);
  EXPECT_EQ(*(*gaps)->Encode("ab?"), (std::vector<int32_t>{0, 1000}));
}

TEST(Tokenizer, SlowPatternEndsWithAnError) {
  auto t = ParseTokenizerJson(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]},
      "pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"(a|aa)+$"}}})",
                              "x");
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_FALSE((*t)->Encode(std::string(5000, 'a') + "!").ok());
}

TEST(Regex, FoldsCaseAsTheReference) {
  auto regex = Regex::Compile("(?i:'s)");
  ASSERT_TRUE(regex.ok());
  for (const std::string text : {"'s", "'S", "'\u017F"}) {
    Regex::Cursor cursor(*regex, text);
    Span hit;
    EXPECT_TRUE(*cursor.Next(&hit)) << text;
  }
}

TEST(Regex, WhiteSpaceAndNewLettersAgreeWithTheReference) {
  const auto matches = [](std::string_view pattern, std::string_view text) {
    auto regex = Regex::Compile(pattern);
    EXPECT_TRUE(regex.ok()) << regex.status().message();
    Regex::Cursor cursor(*regex, text);
    Span hit;
    return *cursor.Next(&hit);
  };
  EXPECT_FALSE(matches("\\s", "\u180E"));
  EXPECT_TRUE(matches("\\S", "\u180E"));
  EXPECT_TRUE(matches("[^\\S]", "\u3000"));
  EXPECT_TRUE(matches("\\p{L}", "\U000323AF"));  // Unicode 15
  EXPECT_FALSE(matches("[^\\p{L}]", "\U000323AF"));
  EXPECT_TRUE(matches("\\p{N}", "\U0001CCF0"));  // Unicode 16
  EXPECT_FALSE(matches("\\P{N}", "\U0001CCF0"));
}

}  // namespace
}  // namespace tessera::text
