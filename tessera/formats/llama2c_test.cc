#include "tessera/formats/llama2c.h"

#include <gtest/gtest.h>

#include "tessera/formats/test_util.h"

namespace tessera {
namespace {

constexpr auto kData = StatusCode::kDataLoss;

// dim 8, hidden 6, 2 layers, 2 heads of 4, 1 kv head, vocabulary 5, context 3.
constexpr int32_t kDim = 8, kHidden = 6, kLayers = 2, kVocab = 5, kSeq = 3, kHeadDim = 4;

std::string Int32s(std::initializer_list<int32_t> values) {
  std::string text;
  for (const int32_t value : values) text += LittleEndian(static_cast<uint32_t>(value), 4);
  return text;
}

// `count` floats: first, first + 1, ...
std::string Ramp(float first, int64_t count) {
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    const float value = first + static_cast<float>(i);
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return text;
}

constexpr float kEmbed = 0, kNorm1 = 1000, kQ = 2000, kK = 3000, kV = 4000, kO = 5000,
                kNorm2 = 6000, kW1 = 7000, kW2 = 8000, kW3 = 9000, kFinal = 10000, kHead = 11000;

std::string Attention() {
  return Ramp(kQ, kLayers * kDim * kDim) + Ramp(kK, kLayers * kHeadDim * kDim) +
         Ramp(kV, kLayers * kHeadDim * kDim) + Ramp(kO, kLayers * kDim * kDim);
}
std::string Mlp() {
  const int64_t size = kLayers * kDim * kHidden;
  return Ramp(kW1, size) + Ramp(kW2, size) + Ramp(kW3, size);
}

std::string Legacy(bool tied) {
  return Int32s({kDim, kHidden, kLayers, 2, 1, tied ? kVocab : -kVocab, kSeq}) +
         Ramp(kEmbed, kVocab * kDim) + Ramp(kNorm1, kLayers * kDim) + Attention() +
         Ramp(kNorm2, kLayers * kDim) + Mlp() + Ramp(kFinal, kDim) + Ramp(-1, kSeq * kHeadDim) +
         (tied ? "" : Ramp(kHead, kVocab * kDim));
}

std::string Version1(bool tied) {
  std::string header = Int32s({0x616b3432, 1, kDim, kHidden, kLayers, 2, 1, kVocab, kSeq});
  header += tied ? '\1' : '\0';
  header.resize(256, '\0');
  return header + Ramp(kNorm1, kLayers * kDim) + Ramp(kNorm2, kLayers * kDim) + Ramp(kFinal, kDim) +
         Ramp(kEmbed, kVocab * kDim) + Attention() + Mlp() +
         (tied ? "" : Ramp(kHead, kVocab * kDim));
}

TEST(Llama2c, BothHeadersTiedAndUntied) {
  for (const bool tied : {true, false}) {
    for (const std::string& bytes : {Legacy(tied), Version1(tied)}) {
      auto file = Llama2cFile::Parse(AsBytes(bytes), "m.bin");
      ASSERT_TRUE(file.ok()) << file.status().message();
      EXPECT_EQ((*file)->Config()["tie_word_embeddings"], tied);
      EXPECT_EQ((*file)->Config()["vocab_size"], kVocab);
      EXPECT_EQ((*file)->names().size(), 2u + 9 * kLayers + (tied ? 0 : 1));
      const auto first = [&](const std::string& name, const Shape& shape) {
        auto tensor = (*file)->Get(name, shape);
        EXPECT_TRUE(tensor.ok()) << tensor.status().message();
        return tensor.ok() ? FloatAt(*tensor, 0) : -1;
      };
      const std::string layer1 = "model.layers.1.";
      EXPECT_EQ(first("model.embed_tokens.weight", {kVocab, kDim}), kEmbed);
      EXPECT_EQ(first("model.norm.weight", {kDim}), kFinal);
      EXPECT_EQ(first(layer1 + "input_layernorm.weight", {kDim}), kNorm1 + kDim);
      EXPECT_EQ(first(layer1 + "post_attention_layernorm.weight", {kDim}), kNorm2 + kDim);
      EXPECT_EQ(first(layer1 + "self_attn.q_proj.weight", {kDim, kDim}), kQ + kDim * kDim);
      EXPECT_EQ(first(layer1 + "self_attn.k_proj.weight", {kHeadDim, kDim}), kK + kHeadDim * kDim);
      EXPECT_EQ(first(layer1 + "self_attn.v_proj.weight", {kHeadDim, kDim}), kV + kHeadDim * kDim);
      EXPECT_EQ(first(layer1 + "self_attn.o_proj.weight", {kDim, kDim}), kO + kDim * kDim);
      EXPECT_EQ(first(layer1 + "mlp.gate_proj.weight", {kHidden, kDim}), kW1 + kDim * kHidden);
      EXPECT_EQ(first(layer1 + "mlp.down_proj.weight", {kDim, kHidden}), kW2 + kDim * kHidden);
      EXPECT_EQ(first(layer1 + "mlp.up_proj.weight", {kHidden, kDim}), kW3 + kDim * kHidden);
      if (tied) {
        EXPECT_EQ((*file)->Find("lm_head.weight"), nullptr);
      } else {
        EXPECT_EQ(first("lm_head.weight", {kVocab, kDim}), kHead);
      }
    }
  }
}

TEST(Llama2c, QueryAndKeyRowsBecomeHalves) {
  const std::string bytes = Legacy(true);
  auto file = Llama2cFile::Parse(AsBytes(bytes), "m.bin");
  ASSERT_TRUE(file.ok());
  const auto rows = [&](const char* name, float base) {
    const std::vector<float> values = ToFloats(*(*file)->Find(name));
    std::vector<int> order;
    for (size_t i = 0; i < values.size(); i += kDim) {
      order.push_back(static_cast<int>((values[i] - base) / kDim));
      EXPECT_EQ(values[i + kDim - 1], values[i] + kDim - 1) << "rows move whole";
    }
    return order;
  };
  EXPECT_EQ(rows("model.layers.0.self_attn.q_proj.weight", kQ),
            (std::vector<int>{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(rows("model.layers.0.self_attn.k_proj.weight", kK), (std::vector<int>{0, 2, 1, 3}));
  EXPECT_EQ(rows("model.layers.0.self_attn.v_proj.weight", kV), (std::vector<int>{0, 1, 2, 3}));
}

TEST(Llama2c, EveryOtherSizeIsRefused) {
  for (const std::string& bytes : {Legacy(true), Version1(false)}) {
    for (size_t size = 0; size < bytes.size(); size += size < 300 ? 1 : 97) {
      ExpectError(Llama2cFile::Parse(AsBytes(bytes).first(size), "m.bin").status(), kData,
                  {"m.bin", "truncated"});
    }
    ExpectError(Llama2cFile::Parse(AsBytes(bytes + "x"), "m.bin").status(), kData,
                {"m.bin", std::to_string(bytes.size() + 1), std::to_string(bytes.size())});
  }
}

TEST(Llama2c, RefusesHeadersNamingFileAndField) {
  constexpr int32_t kMax = 0x7fffffff, kMin = -kMax - 1;
  const struct {
    std::initializer_list<int32_t> header;
    const char* field;
  } cases[] = {
      {{0, 6, 2, 2, 1, 5, 3}, "'dim' is 0"},
      {{-8, 6, 2, 2, 1, 5, 3}, "'dim' is -8"},
      {{8, 0, 2, 2, 1, 5, 3}, "'hidden_dim'"},
      {{8, 6, 0, 2, 1, 5, 3}, "'n_layers'"},
      {{8, 6, 2, 0, 1, 5, 3}, "'n_heads'"},
      {{8, 6, 2, 2, 0, 5, 3}, "'n_kv_heads'"},
      {{8, 6, 2, 2, 1, 0, 3}, "'vocab_size'"},
      {{8, 6, 2, 2, 1, kMin, 3}, "'vocab_size' is 2147483648"},
      {{8, 6, 2, 2, 1, 5, -3}, "'seq_len'"},
      {{8, 6, 2, 3, 1, 5, 3}, "'dim' is 8"},
      {{10, 6, 2, 2, 1, 5, 3}, "'dim' is 10"},
      {{16, 6, 2, 4, 3, 5, 3}, "'n_kv_heads' is 3"},
      {{kMax, kMax, kMax, kMax, kMax, kMax, kMax}, "'dim'"},
      {{1 << 24, 1 << 24, 1 << 14, 1, 1, 1 << 24, 1 << 24}, "overflow"},
      {{0x616b3432, 3, 8, 6, 2, 2, 1}, "'version' is 3"},
      {{0x616b3432, 2, 8, 6, 2, 2, 1}, "version 2"},
  };
  for (const auto& c : cases) {
    const Status status = Llama2cFile::Parse(AsBytes(Int32s(c.header)), "m.bin").status();
    ExpectError(status, *c.header.begin() == 0x616b3432 ? StatusCode::kUnimplemented : kData,
                {"m.bin", c.field});
  }
}

}  // namespace
}  // namespace tessera
