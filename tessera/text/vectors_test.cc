// Real vocabularies against the reference: the published test vectors, and 10,000 random strings
// per tokenizer whose expected ids are committed as hashes (testdata/make_vectors.py).
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tessera/text/incremental_decoder.h"
#include "tessera/text/tokenizer.h"
#include "tessera/text/unicode.h"

namespace tessera::text {
namespace {

namespace fs = std::filesystem;

fs::path Shared() { return fs::path(TESSERA_SOURCE_DIR) / "../shared/data/tokenizers"; }
fs::path Testdata() { return fs::path(TESSERA_SOURCE_DIR) / "tessera/text/testdata"; }

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The generator of make_vectors.py.
class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}
  uint64_t Below(uint64_t n) {
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (z ^ z >> 31) % n;
  }

 private:
  uint64_t state_;
};

const std::string kWords[] = {" the",
                              " Hello",
                              "world",
                              " I'm",
                              "'s",
                              "'S",
                              "'\u017f",
                              "'ll",
                              "'LL",
                              "'rE",
                              "n't",
                              "'d",
                              " of",
                              "ing",
                              "\u0130stanbul",
                              "stra\u00dfe",
                              "e\u0301",
                              " caf\u00e9",
                              "\ufb01",
                              "\u2126",
                              "<|im_end|>",
                              "<|endoftext|>",
                              "<s>",
                              "</s>",
                              "<0x0A>",
                              "<|eot_id|>",
                              "\u2581",
                              "<think>",
                              "<|im_start|>user\n",
                              "<tool_call>",
                              "\r\n",
                              "\n\n",
                              " \n ",
                              "\t\t",
                              "    ",
                              "1234567",
                              "0x1F",
                              "3.14",
                              "!!!",
                              "...",
                              "://",
                              "();",
                              "\u200d",
                              "\ufeff",
                              "\u00a0",
                              "\u2028",
                              "\u180e",
                              "\xC2\x85"};
constexpr std::pair<char32_t, char32_t> kRanges[] = {
    {0xA0, 0x17F},    {0x370, 0x3FF},   {0x400, 0x4FF},     {0x300, 0x36F},    {0x590, 0x6FF},
    {0x900, 0x97F},   {0xE00, 0xE7F},   {0x1100, 0x11FF},   {0x1E00, 0x1FFF},  {0x2000, 0x206F},
    {0x2150, 0x218F}, {0x2460, 0x24FF}, {0x3000, 0x30FF},   {0x4E00, 0x9FFF},  {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF}, {0xFE00, 0xFFEF}, {0x1F100, 0x1F1FF}, {0x1F300, 0x1F9FF}};

std::string RandomString(SplitMix* rng) {
  std::string out;
  const uint64_t pieces = 1 + rng->Below(24);
  for (uint64_t p = 0; p < pieces; ++p) {
    const uint64_t kind = rng->Below(10);
    if (kind < 3) {
      out += kWords[rng->Below(std::size(kWords))];
    } else if (kind < 5) {
      if (rng->Below(2)) out += ' ';
      const uint64_t n = 1 + rng->Below(9);
      for (uint64_t i = 0; i < n; ++i) {
        const uint64_t letter = 97 + rng->Below(26);
        out += static_cast<char>(letter - (rng->Below(5) == 0 ? 32 : 0));
      }
    } else if (kind == 5) {
      const uint64_t n = 1 + rng->Below(4);
      for (uint64_t i = 0; i < n; ++i) out += static_cast<char>(33 + rng->Below(94));
    } else if (kind == 6) {
      const uint64_t n = 1 + rng->Below(5);
      for (uint64_t i = 0; i < n; ++i) out += " \n\t\r"[rng->Below(4)];
    } else if (kind < 9) {
      const auto [low, high] = kRanges[rng->Below(std::size(kRanges))];
      const uint64_t n = 1 + rng->Below(6);
      for (uint64_t i = 0; i < n; ++i) {
        AppendUtf8(low + static_cast<char32_t>(rng->Below(high - low + 1)), &out);
      }
    } else {
      const auto c = static_cast<char32_t>(rng->Below(0x110000 - 0x800));
      AppendUtf8(c < 0xD800 ? c : c + 0x800, &out);
    }
  }
  return out;
}

uint32_t Fnv(std::string_view data, uint32_t value) {
  for (char c : data) value = (value ^ static_cast<unsigned char>(c)) * 0x01000193u;
  return value;
}

struct Case {
  std::string path;      // below the shared tokenizers folder
  std::string expected;  // random_<expected>.bin
};

// A Llama-3 folder as Meta ships it plus the tokenizer_config of the Hugging Face one.
fs::path Prepared(const std::string& path) {
  if (path != "Llama-3") return Shared() / path;
  const fs::path folder = fs::path(testing::TempDir()) / "llama3_prepared";
  fs::create_directories(folder);
  std::error_code error;
  fs::remove(folder / "tokenizer.model", error);
  fs::remove(folder / "tokenizer_config.json", error);
  fs::create_symlink(fs::absolute(Shared() / "Llama-3/tokenizer.model"), folder / "tokenizer.model",
                     error);
  fs::create_symlink(fs::absolute(Shared() / "Llama-3/Llama-3.2-1B-Instruct.tokenizer_config.json"),
                     folder / "tokenizer_config.json", error);
  return folder;
}

class RandomStrings : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Tokenizers, RandomStrings,
                         testing::Values(Case{"SDAR-4B-Chat", "qwen2"}, Case{"GPT-2", "gpt2"},
                                         Case{"Llama-3", "llama3"},
                                         Case{"Llama-2/tokenizer.json", "llama2"},
                                         Case{"Llama-2/tokenizer.model", "llama2"},
                                         Case{"GPT-NeoX/20B_tokenizer.json", "neox"}),
                         [](const auto& test) {
                           return test.param.expected +
                                  (test.param.path.ends_with(".model") ? "_spm" : "");
                         });

TEST_P(RandomStrings, TenThousandAgreeWithTheReference) {
  if (!fs::exists(Shared())) GTEST_SKIP() << "no shared data at " << Shared();
  const std::string expected = ReadFile(Testdata() / ("random_" + GetParam().expected + ".bin"));
  ASSERT_EQ(expected.size(), 40000u);
  auto t = LoadTokenizer(Prepared(GetParam().path));
  ASSERT_TRUE(t.ok()) << t.status().message();
  SplitMix rng(20260101);
  int wrong = 0;
  for (size_t i = 0; i < 10000; ++i) {
    const std::string text = RandomString(&rng);
    const auto ids = (*t)->Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    std::string bytes(ids->size() * 4, '\0');
    std::memcpy(bytes.data(), ids->data(), bytes.size());
    const std::string decoded = (*t)->Decode(*ids);
    uint32_t want = 0;
    std::memcpy(&want, expected.data() + i * 4, 4);
    if (Fnv(decoded, Fnv(bytes, 0x811C9DC5u)) != want && ++wrong < 5) {
      ADD_FAILURE() << "string " << i << ": " << text;
    }
    IncrementalDecoder stream(**t);
    std::string streamed;
    for (int32_t id : *ids) streamed += stream.Push(id);
    ASSERT_EQ(streamed + stream.Finish(), decoded);
  }
  EXPECT_EQ(wrong, 0);
}

struct Published {
  std::string path;
  std::string vectors;
};
class PublishedVectors : public testing::TestWithParam<Published> {};
INSTANTIATE_TEST_SUITE_P(Tokenizers, PublishedVectors,
                         testing::Values(Published{"SDAR-4B-Chat", "qwen2"},
                                         Published{"SDAR-4B-Chat", "deepseek-r1-qwen"},
                                         Published{"Llama-3/tokenizer.model", "llama-bpe"},
                                         Published{"GPT-2", "gpt-2"},
                                         Published{"Llama-2/tokenizer.model", "llama-spm"},
                                         Published{"Llama-2/tokenizer.json", "llama-spm"},
                                         Published{"Llama-2/tokenizer.model", "phi-3"},
                                         Published{"Llama-2/tokenizer.bin", "llama-spm"}));

TEST_P(PublishedVectors, AllAgree) {
  if (!fs::exists(Shared())) GTEST_SKIP() << "no shared data at " << Shared();
  const fs::path stem = Shared() / "test-vectors" / ("ggml-vocab-" + GetParam().vectors + ".gguf");
  const std::string input = ReadFile(stem.string() + ".inp");
  std::istringstream output(ReadFile(stem.string() + ".out"));
  auto t = LoadTokenizer(Shared() / GetParam().path);
  ASSERT_TRUE(t.ok()) << t.status().message();
  constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
  size_t count = 0;
  for (size_t pos = 0; pos <= input.size(); ++count) {
    const size_t end = std::min(input.find(kSeparator, pos), input.size());
    const std::string text = input.substr(pos, end - pos);
    pos = end + kSeparator.size();
    std::string line;
    if (!std::getline(output, line)) break;
    std::vector<int32_t> want;
    std::istringstream numbers(line);
    for (int32_t id; numbers >> id;) want.push_back(id);
    const auto got = (*t)->Encode(text, {.parse_special = false});
    ASSERT_TRUE(got.ok()) << got.status().message();
    EXPECT_EQ(*got, want) << "text " << count << ": " << text;
  }
  EXPECT_GE(count, 45u);
}

TEST(Llama3, SpecialTokensOfTheBareRankFile) {
  if (!fs::exists(Shared())) GTEST_SKIP() << "no shared data at " << Shared();
  auto t = LoadTokenizer(Shared() / "Llama-3/tokenizer.model");
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ((*t)->vocab_size(), 128256);
  EXPECT_EQ((*t)->TokenToId("<|eot_id|>"), 128009);
  EXPECT_EQ((*t)->TokenToId("<|start_header_id|>"), 128006);
  EXPECT_EQ((*t)->TokenToId("<|reserved_special_token_250|>"), 128255);
  EXPECT_EQ((*t)->bos_id(), 128000);
  EXPECT_EQ((*t)->Encode("hi<|eot_id|>", {.add_special_tokens = true})->front(), 128000);
}

}  // namespace
}  // namespace tessera::text
