#include "tessera/formats/gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "tessera/formats/gguf_config.h"
#include "tessera/formats/gguf_testing.h"
#include "tessera/formats/model_files.h"
#include "tessera/formats/test_util.h"

namespace tessera {
namespace {

using gguf_testing::Builder;
using gguf_testing::Raw;
using gguf_testing::Text;

std::vector<float> Ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = 0.01f * static_cast<float>(i) - 0.3f;
  return values;
}

Builder::Tensor F32Tensor(std::string name, Shape shape) {
  const std::vector<float> values = Ramp(static_cast<size_t>(NumElements(shape)));
  return {.name = std::move(name),
          .shape = std::move(shape),
          .data = gguf_testing::Floats(gguf_testing::kF32, values)};
}

Status ParseStatus(const std::string& bytes) {
  return GgufFile::Parse(AsBytes(bytes), "model.gguf").status();
}

void ExpectRefused(const std::string& bytes, std::initializer_list<std::string_view> parts) {
  const Status status = ParseStatus(bytes);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("model.gguf"), std::string::npos) << status.message();
  ExpectError(status, status.code(), parts);
}

// Metadata of a llama with 4 heads of 4, 2 of keys, width 16.
Builder Llama(std::string_view architecture = "llama") {
  Builder b;
  const std::string p = std::string(architecture) + ".";
  b.String("general.architecture", architecture);
  b.U32(p + "embedding_length", 16).U32(p + "block_count", 1).U32(p + "feed_forward_length", 32);
  b.U32(p + "attention.head_count", 4).U32(p + "attention.head_count_kv", 2);
  b.U32(p + "context_length", 128).F32(p + "attention.layer_norm_rms_epsilon", 1e-5f);
  return b;
}

TEST(Gguf, MetadataOfEveryKind) {
  Builder b;
  b.U32("u32", 7).F32("f32", 0.5f).Bool("yes", true).String("text", "gr\xc3\xbc\xc3\x9f");
  b.Pair("u8", 0, Raw<uint8_t>(200)).Pair("i8", 1, Raw<int8_t>(-3));
  b.Pair("u16", 2, Raw<uint16_t>(60000)).Pair("i16", 3, Raw<int16_t>(-4));
  b.Pair("i32", 5, Raw<int32_t>(-5)).Pair("u64", 10, Raw<uint64_t>(1ull << 40));
  b.Pair("i64", 11, Raw<int64_t>(-6)).Pair("f64", 12, Raw(0.25));
  b.Pair("huge", 10, Raw(~uint64_t{0}));
  b.Ints("ints", {1, -2}).Floats("floats", {1.5f}).Strings("strings", {"a", "", "bc"});
  for (const uint32_t version : {2u, 3u}) {
    const std::string bytes = b.Build(version);
    const auto header = ParseGgufHeader(AsBytes(bytes), "m");
    ASSERT_TRUE(header.ok()) << header.status().message();
    const GgufMetadata& m = header->metadata;
    EXPECT_EQ(header->version, version);
    EXPECT_EQ(*m.GetInt("u32"), 7);
    EXPECT_EQ(*m.GetInt("u8"), 200);
    EXPECT_EQ(*m.GetInt("i8"), -3);
    EXPECT_EQ(*m.GetInt("u16"), 60000);
    EXPECT_EQ(*m.GetInt("i16"), -4);
    EXPECT_EQ(*m.GetInt("i32"), -5);
    EXPECT_EQ(*m.GetInt("u64"), int64_t{1} << 40);
    EXPECT_EQ(*m.GetInt("i64"), -6);
    EXPECT_EQ(*m.GetFloat("f32"), 0.5);
    EXPECT_EQ(*m.GetFloat("f64"), 0.25);
    EXPECT_EQ(*m.GetBoolOr("yes", false), true);
    EXPECT_EQ(*m.GetString("text"), "gr\xc3\xbc\xc3\x9f");
    EXPECT_EQ(*m.GetInts("ints"), (std::vector<int64_t>{1, -2}));
    EXPECT_EQ(*m.GetFloats("floats"), std::vector<float>{1.5f});
    EXPECT_EQ(*m.GetStrings("strings"), (std::vector<std::string_view>{"a", "", "bc"}));
    EXPECT_EQ(*m.GetIntOr("none", -1), -1);
    EXPECT_TRUE(m.GetStrings("none")->empty());
    ExpectError(m.GetInt("none").status(), StatusCode::kInvalidArgument, {"m: ", "'none'"});
    ExpectError(m.GetInt("huge").status(), StatusCode::kDataLoss, {"'huge'", "u64"});
    ExpectError(m.GetInt("f32").status(), StatusCode::kDataLoss, {"f32", "an integer"});
    ExpectError(m.GetInt("ints").status(), StatusCode::kDataLoss, {"i32 [2]", "an integer"});
    ExpectError(m.GetInt("u8", {.min = 0, .max = 9}).status(), StatusCode::kInvalidArgument,
                {"200", "0 to 9"});
    ExpectError(m.GetFloat("u8").status(), StatusCode::kDataLoss, {"a float"});
    ExpectError(m.GetString("u8").status(), StatusCode::kDataLoss, {"a string"});
    ExpectError(m.GetStrings("text").status(), StatusCode::kDataLoss, {"an array of strings"});
    ExpectError(m.GetFloats("ints").status(), StatusCode::kDataLoss, {"an array of f32"});
    ExpectError(m.GetInts("floats").status(), StatusCode::kDataLoss, {"an array of integers"});
    ExpectError(m.GetBoolOr("u8", false).status(), StatusCode::kDataLoss, {"a bool"});
  }
}

TEST(Gguf, TensorsOfEveryTypeAreReadInPlace) {
  Builder b;
  std::vector<float> values = Ramp(512);
  for (const auto& [name, type] :
       {std::pair("f32", gguf_testing::kF32), std::pair("f16", gguf_testing::kF16),
        std::pair("bf16", gguf_testing::kBF16)}) {
    b.Add({.name = name,
           .type = type,
           .shape = {2, 256},
           .data = gguf_testing::Floats(type, values)});
  }
  for (const GgufBlock block : kGgufBlocks) {
    b.Add({.name = std::string(FormatOf(block).name),
           .type = gguf_testing::TypeId(block),
           .shape = {2, 256},
           .data = gguf_testing::Round(block, values)});
  }
  b.Add({.name = "old", .type = gguf_testing::kQ5_0, .shape = {1, 32}, .data = std::string(22, 1)});
  b.Add({.name = "vector",
         .type = gguf_testing::TypeId(GgufBlock::kQ8_0),
         .shape = {32},
         .data = std::string(34, 1)});
  const std::string bytes = b.Build();
  const auto file = GgufFile::Parse(AsBytes(bytes), "m");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->names().size(), 11u);
  for (const char* name : {"f32", "f16", "bf16"}) {
    const auto tensor = (*file)->GetFinite(name, {2, 256});
    ASSERT_TRUE(tensor.ok()) << tensor.status().message();
    EXPECT_EQ((*file)->Describe(name)->type, name);
    const std::vector<float> read = ToFloats(*tensor);
    for (size_t i = 0; i < read.size(); ++i) ASSERT_NEAR(read[i], values[i], 0.02) << name;
    EXPECT_EQ((*file)->FindQuantized(name), nullptr);
  }
  // Half a step of the widest block (top 4.81), and the rounding of scales to half precision or 6
  // bits.
  const std::map<std::string, float> tolerance = {{"Q8_0", 0.025f}, {"Q4_0", 0.36f},
                                                  {"Q4_1", 0.02f},  {"Q4_K", 0.25f},
                                                  {"Q5_K", 0.14f},  {"Q6_K", 0.1f}};
  for (const auto& [name, bound] : tolerance) {
    EXPECT_EQ((*file)->Find(name), nullptr);
    const auto tensor = (*file)->GetQuantizedFinite(name, {2, 256});
    ASSERT_TRUE(tensor.ok()) << tensor.status().message();
    EXPECT_EQ((*tensor)->type_name(), name);
    const int64_t group = (*tensor)->layout().group;
    uint8_t codes[256];
    float scales[16], mins[16];
    for (int64_t row = 0; row < 2; ++row) {
      (*tensor)->ReadRow(row, codes, scales, mins);
      for (int64_t i = 0; i < 256; ++i) {
        const float value = scales[i / group] * codes[i] + mins[i / group];
        ASSERT_NEAR(value, values[static_cast<size_t>(row * 256 + i)], bound) << name << " " << i;
      }
    }
    ExpectError((*file)->Get(name).status(), StatusCode::kUnimplemented, {name, "f32, f16"});
  }
  EXPECT_EQ((*file)->Describe("Q6_K")->bytes, 2 * 210);
  EXPECT_EQ((*file)->Describe("old")->type, "Q5_0");
  ExpectError((*file)->Get("old").status(), StatusCode::kUnimplemented, {"'old'", "Q5_0", "Q4_K"});
  ExpectError((*file)->CheckUsable("old", {1, 32}), StatusCode::kUnimplemented, {"'old'", "Q5_0"});
  ExpectError((*file)->Get("vector").status(), StatusCode::kUnimplemented, {"'vector'", "Q8_0"});
  ExpectError((*file)->Get("none").status(), StatusCode::kNotFound, {"'none'"});
}

TEST(Gguf, ScalesThatAreNotFiniteAreRefusedByName) {
  for (const GgufBlock block : kGgufBlocks) {
    Builder::Tensor tensor{.name = "blk.0.ffn_up.weight",
                           .type = gguf_testing::TypeId(block),
                           .shape = {3, 256},
                           .data = gguf_testing::Round(block, Ramp(768))};
    const size_t row = tensor.data.size() / 3;
    const size_t at = 2 * row - static_cast<size_t>(FormatOf(block).bytes) +
                      (block == GgufBlock::kQ6_K ? 208 : 0);  // last block of the second row
    tensor.data.replace(at, 2, Raw<uint16_t>(0x7e00));
    const std::string bytes = Builder().Add(tensor).Build();
    const auto file = GgufFile::Parse(AsBytes(bytes), "m");
    ASSERT_TRUE(file.ok());
    ExpectError((*file)->GetQuantizedFinite(tensor.name, {3, 256}).status(), StatusCode::kDataLoss,
                {"m: ", "'blk.0.ffn_up.weight'", FormatOf(block).name, "in row 1"});
  }
}

TEST(Gguf, HostileHeadersAreRefused) {
  const std::string good = Llama().Add(F32Tensor("a", {4, 8})).Add(F32Tensor("b", {8})).Build();
  ASSERT_TRUE(ParseStatus(good).ok());
  ExpectRefused("", {"not a GGUF file"});
  ExpectRefused("GGUX" + good.substr(4), {"not a GGUF file"});
  ExpectRefused("GGUF" + Raw<uint32_t>(1) + good.substr(8), {"version 1", "2 and 3"});
  ExpectRefused("GGUF" + Raw<uint32_t>(4) + good.substr(8), {"version 4"});
  ExpectRefused(std::string("GGUF\0\0\0\3", 8) + good.substr(8), {"big-endian"});
  for (const uint64_t count : {(uint64_t{1} << 17) + 1, uint64_t{1} << 40, ~uint64_t{0}}) {
    ExpectRefused(good.substr(0, 8) + Raw(count) + good.substr(16), {"tensors", "accepted"});
    ExpectRefused(good.substr(0, 16) + Raw(count) + good.substr(24), {"keys", "accepted"});
  }
  // Cut anywhere, it is refused; nothing is read beyond the end (the sanitizers watch).
  for (size_t size = 0; size < good.size(); ++size) {
    const std::string cut = good.substr(0, size);
    ASSERT_FALSE(ParseStatus(cut).ok()) << size;
  }
  const auto pair = [](std::string_view key, uint32_t type, const std::string& value) {
    return Builder().Pair(key, type, value).Build();
  };
  const uint64_t most = ~uint64_t{0};
  ExpectRefused(pair("k", 13, Raw(uint64_t{0})), {"'k'", "value type 13"});
  ExpectRefused(pair("k", 8, Raw(most)), {"'k'", "truncated"});
  ExpectRefused(pair("k", 8, Raw(most / 2)), {"'k'", "truncated"});
  ExpectRefused(pair("k", 7, Raw<uint8_t>(2)), {"'k'", "bool"});
  ExpectRefused(pair("k", 9, Raw<uint32_t>(9) + Raw<uint64_t>(1)), {"'k'", "array of arrays"});
  for (const uint32_t type : {0u, 4u, 8u, 12u}) {
    for (const uint64_t count : {most, most / 8 + 1, most / 2, uint64_t{1} << 33}) {
      ExpectRefused(pair("k", 9, Raw(type) + Raw(count) + std::string(64, '\1')),
                    {"'k'", "truncated"});
    }
  }
  ExpectRefused(pair("", 0, "x"), {"the name of key 0"});
  ExpectRefused(pair("\xff", 0, "x"), {"the name of key 0", "\\xff"});
  ExpectRefused(pair(std::string(2000, 'k'), 0, "x"), {"the name of key 0"});
  ExpectRefused(Builder().U32("k", 1).U32("k", 1).Build(), {"'k'", "twice"});
  for (const uint32_t alignment : {0u, 4u, 24u, 1u << 17}) {
    ExpectRefused(Builder().U32("general.alignment", alignment).Build(), {"general.alignment"});
  }
  ExpectRefused(Builder().String("general.alignment", "32").Build(), {"general.alignment"});
}

TEST(Gguf, HostileTensorTablesAreRefused) {
  const auto one = [](Builder::Tensor tensor) {
    Builder b;
    b.Add(std::move(tensor));
    return b.Build();
  };
  const int64_t big = std::numeric_limits<int64_t>::max();
  ExpectRefused(one({.name = "t", .shape = {}}), {"'t'", "0 dimensions"});
  ExpectRefused(one({.name = "t", .shape = {1, 1, 1, 1, 1}}), {"'t'", "5 dimensions"});
  ExpectRefused(one({.name = "t", .shape = {0, 4}}), {"'t'", "dimension 1 of 0"});
  ExpectRefused(one({.name = "t", .shape = {-1, 4}}), {"'t'", "overflows"});
  ExpectRefused(one({.name = "t", .shape = {big, 3}}), {"'t'", "overflows"});
  ExpectRefused(one({.name = "t", .shape = {big}}), {"'t'", "overflows"});
  ExpectRefused(one({.name = "t", .shape = {1000000}}), {"'t'", "ends after"});
  ExpectRefused(one({.name = "t", .type = 99, .shape = {1}}), {"'t'", "type number 99", "Q4_K"});
  ExpectRefused(one({.name = "t", .type = 4, .shape = {32}}), {"'t'", "type number 4"});
  ExpectRefused(one({.name = "t", .type = 12, .shape = {4, 128}}), {"'t'", "Q4_K", "256"});
  ExpectRefused(one({.name = "t", .type = 8, .shape = {48}}), {"'t'", "Q8_0", "32"});
  Builder::Tensor t = F32Tensor("t", {8});
  for (const auto& [offset, part] :
       {std::pair(int64_t{8}, "multiples of 32"), std::pair(int64_t{32}, "ends after"),
        std::pair(big / 32 * 32, "ends after")}) {
    t.offset = offset;
    ExpectRefused(one(t), {"'t'", part});
  }
  t.offset = 0;
  ExpectRefused(Builder().Add(F32Tensor("u", {16})).Add(t).Build(), {"'u'", "'t'", "overlap"});
  ExpectRefused(Builder().Add(F32Tensor("t", {8})).Add(F32Tensor("t", {8})).Build(),
                {"'t'", "twice"});
  ExpectRefused(one({.name = "", .shape = {1}}), {"the name of tensor 0"});
}

TEST(Gguf, AlignmentOfTheFileIsUsed) {
  for (const uint32_t alignment : {8u, 64u, 4096u}) {
    Builder b;
    b.Align(alignment).Add(F32Tensor("a", {3})).Add(F32Tensor("b", {5}));
    const std::string bytes = b.Build();
    const auto file = GgufFile::Parse(AsBytes(bytes), "m");
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(ToFloats(*(*file)->Get("b")), Ramp(5));
  }
}

// Row r of the file's Q and K is the number r; what we get must be Hugging Face's order.
TEST(Gguf, RowsOfQAndKAreReorderedWhereTheConverterReordersThem) {
  for (const std::string architecture : {"llama", "llada", "qwen2", "qwen3", "dream"}) {
    const bool rotated = architecture == "llama" || architecture == "llada";
    Builder b = Llama(architecture);
    const auto rows = [&](const std::string& name, int64_t out) {
      std::vector<float> values;
      for (int64_t row = 0; row < out; ++row)
        values.insert(values.end(), 32, static_cast<float>(row + 1));
      b.Add({.name = name + "f",
             .shape = {out, 32},
             .data = gguf_testing::Floats(gguf_testing::kF32, values)});
      b.Add({.name = name,
             .type = gguf_testing::TypeId(GgufBlock::kQ8_0),
             .shape = {out, 32},
             .data = gguf_testing::Round(GgufBlock::kQ8_0, values)});
    };
    rows("blk.0.attn_q.weight", 16);
    rows("blk.0.attn_k.weight", 8);
    rows("blk.0.attn_v.weight", 8);
    b.Add({.name = "blk.1.attn_q.weight",
           .shape = {16, 1},
           .data = gguf_testing::Floats(
               gguf_testing::kF32,
               std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})});
    const std::string bytes = b.Build();
    const auto file = GgufFile::Parse(AsBytes(bytes), "m");
    ASSERT_TRUE(file.ok()) << file.status().message();
    for (const auto& [part, out] : {std::pair("q", 16), std::pair("k", 8), std::pair("v", 8)}) {
      const std::string name = std::string("blk.0.attn_") + part + ".weight";
      const QuantizedTensor* tensor = (*file)->FindQuantized(name);
      ASSERT_NE(tensor, nullptr);
      for (int row = 0; row < out; ++row) {
        uint8_t codes[32];
        float scale, min;
        tensor->ReadRow(row, codes, &scale, &min);
        // Heads of 4 rows: stored 0 1 2 3 are ours 0 2 1 3.
        const int swap[] = {0, 2, 1, 3};
        const int stored =
            rotated && name != "blk.0.attn_v.weight" ? row / 4 * 4 + swap[row % 4] : row;
        EXPECT_NEAR(scale * codes[0] + min, stored + 1, 0.02) << architecture << name << row;
      }
    }
    // Floats: a copy that Advise ends and Find makes anew.
    for (int turn = 0; turn < 2; ++turn) {
      const std::vector<float> floats = ToFloats(*(*file)->Find("blk.1.attn_q.weight"));
      EXPECT_EQ(floats[1], rotated ? 2 : 1);
      EXPECT_EQ(floats[14], rotated ? 13 : 14);
      (*file)->Advise("blk.1.attn_q.weight", MapAdvice::kDontNeed);
    }
  }
  Builder odd = Llama();
  odd.Add(F32Tensor("blk.0.attn_q.weight", {6, 2}));
  ExpectRefused(odd.Build(), {"'blk.0.attn_q.weight'", "6 rows", "4 heads"});
}

TEST(GgufConfig, SaysWhatConfigJsonWould) {
  Builder b = Llama();
  b.F32("llama.rope.freq_base", 5e5f).U32("llama.rope.dimension_count", 4);
  b.U32("tokenizer.ggml.eos_token_id", 3).U32("tokenizer.ggml.eot_token_id", 5);
  b.Add(F32Tensor("token_embd.weight", {10, 16}));
  const std::string bytes = b.Build();
  const auto config = (*GgufFile::Parse(AsBytes(bytes), "m"))->Config();
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ((*config)["architectures"][0], "LlamaForCausalLM");
  EXPECT_EQ((*config)["head_dim"], 4);
  EXPECT_EQ((*config)["vocab_size"], 10);
  EXPECT_EQ((*config)["num_key_value_heads"], 2);
  EXPECT_EQ((*config)["rope_theta"], 5e5);
  EXPECT_EQ((*config)["tie_word_embeddings"], true);
  EXPECT_EQ((*config)["eos_token_id"], nlohmann::json::array({3, 5}));
  EXPECT_TRUE((*config)["mask_token_id"].is_null());
}

TEST(GgufConfig, RefusesOtherNetworksAndWhatIsMissing) {
  const auto config = [](Builder b) {
    b.Add(F32Tensor("token_embd.weight", {10, 16}));
    const std::string bytes = b.Build();
    const auto file = GgufFile::Parse(AsBytes(bytes), "m.gguf");
    return file.ok() ? (*file)->Config().status() : file.status();
  };
  EXPECT_TRUE(config(Llama()).ok());
  ExpectError(config(Llama("mamba")), StatusCode::kUnimplemented,
              {"m.gguf", "'mamba'", "llama, qwen2, qwen3, llada, dream"});
  ExpectError(config(Builder()), StatusCode::kInvalidArgument, {"general.architecture"});
  ExpectError(config(Llama("dream")), StatusCode::kInvalidArgument,
              {"tokenizer.ggml.mask_token_id"});
  EXPECT_TRUE(config(Llama("llada").U32("tokenizer.ggml.mask_token_id", 9)).ok());
  ExpectError(config(Llama("llada").U32("tokenizer.ggml.mask_token_id", 10)),
              StatusCode::kInvalidArgument, {"mask_token_id", "0 to 9"});
  ExpectError(config(Llama().U32("llama.expert_count", 8)), StatusCode::kUnimplemented,
              {"llama.expert_count", "8"});
  ExpectError(config(Llama().U32("llama.attention.sliding_window", 8)), StatusCode::kUnimplemented,
              {"sliding_window"});
  ExpectError(config(Llama().Bool("llama.attention.causal", false)), StatusCode::kUnimplemented,
              {"attention.causal", "false"});
  ExpectError(config(Llama().U32("llama.rope.dimension_count", 2)), StatusCode::kUnimplemented,
              {"rope.dimension_count", "4"});
  ExpectError(config(Llama().U32("llama.attention.value_length", 8)), StatusCode::kUnimplemented,
              {"value_length"});
  ExpectError(config(Llama().String("llama.rope.scaling.type", "yarn")), StatusCode::kUnimplemented,
              {"rope.scaling.type", "'yarn'", "linear"});
  ExpectError(config(Builder().String("general.architecture", "llama")),
              StatusCode::kInvalidArgument, {"llama.embedding_length"});
  ExpectError(
      config(
          Builder().String("general.architecture", "qwen3").String("qwen3.embedding_length", "x")),
      StatusCode::kDataLoss, {"qwen3.embedding_length", "an integer"});
  Builder heads;
  heads.String("general.architecture", "llama").Ints("llama.attention.head_count", {4, 4});
  ExpectError(config(std::move(heads)), StatusCode::kDataLoss, {"head_count", "an integer"});
}

// "a.gguf" with one tensor; as part `number` of `count` when there are several.
std::string SplitPart(const std::string& tensor, uint16_t number, uint16_t count, int32_t total) {
  Builder b = Llama();
  b.Pair("split.no", 2, Raw(number)).Pair("split.count", 2, Raw(count));
  b.Pair("split.tensors.count", 5, Raw(total));
  b.Add(F32Tensor(tensor, {2, 16}));
  return b.Build();
}

TEST(GgufSplit, ASetIsOneModel) {
  const TempFolder folder;
  folder.Write("m-00001-of-00003.gguf", SplitPart("token_embd.weight", 0, 3, 3));
  const std::string second =
      folder.Write("m-00002-of-00003.gguf", SplitPart("blk.0.attn_q.weight2", 1, 3, 3));
  ExpectError(GgufFile::Open(second).status(), StatusCode::kNotFound, {"m-00003-of-00003.gguf"});
  folder.Write("m-00003-of-00003.gguf", SplitPart("output.weight", 2, 3, 3));
  for (const std::string& path : {second, *FindGgufInFolder(folder.path())}) {
    const auto file = GgufFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ((*file)->origin(), folder / "m-00001-of-00003.gguf");
    EXPECT_EQ((*file)->names().size(), 3u);
    EXPECT_EQ((*file)->total_bytes(), 3 * 2 * 16 * 4);
    EXPECT_EQ(ToFloats(*(*file)->Get("output.weight")), Ramp(32));
  }
  EXPECT_TRUE(OpenModelFiles(folder.path()).ok());

  folder.Write("m-00003-of-00003.gguf", SplitPart("output.weight", 1, 3, 3));
  ExpectError(GgufFile::Open(second).status(), StatusCode::kDataLoss, {"00003", "file 2 of 3"});
  folder.Write("m-00003-of-00003.gguf", SplitPart("token_embd.weight", 2, 3, 3));
  ExpectError(GgufFile::Open(second).status(), StatusCode::kDataLoss, {"'token_embd.weight'"});
  folder.Write("m-00001-of-00003.gguf", SplitPart("a", 0, 3, 7));
  ExpectError(GgufFile::Open(second).status(), StatusCode::kDataLoss, {"3 tensors", "7"});
  const std::string lone = folder.Write("lone.gguf", SplitPart("a", 0, 3, 3));
  ExpectError(GgufFile::Open(lone).status(), StatusCode::kInvalidArgument, {"00001-of-00003"});
}

TEST(GgufFolder, OneModelOrAnErrorThatNamesThem) {
  const TempFolder folder;
  ExpectError(FindGgufInFolder(folder.path()).status(), StatusCode::kNotFound, {folder.path()});
  const std::string model = Llama().Add(F32Tensor("token_embd.weight", {4, 16})).Build();
  folder.Write("a.gguf", model);
  folder.Write("readme.md", "x");
  EXPECT_EQ(*FindGgufInFolder(folder.path()), folder / "a.gguf");
  const auto files = OpenModelFiles(folder.path());
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ(files->gguf, files->tensors.get());
  EXPECT_EQ(files->folder, folder / "a.gguf");
  EXPECT_TRUE(OpenModelFiles(folder / "a.gguf").ok());
  folder.Write("b.gguf", model);
  ExpectError(OpenModelFiles(folder.path()).status(), StatusCode::kInvalidArgument,
              {"'a.gguf'", "'b.gguf'"});
  folder.Write("model.safetensors", SafetensorsBytes("{}", 0));
  folder.Write("config.json", "{}");
  const auto checkpoint = OpenModelFiles(folder.path());  // safetensors come first
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->gguf, nullptr);
}

}  // namespace
}  // namespace tessera
