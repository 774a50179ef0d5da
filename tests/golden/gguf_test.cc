// The golden models as GGUF files: logits of the float types equal the public ones, quantised files
// equal a model of their dequantised values, and Llama 3.1's rotary divisors replace its formula.
#include "tessera/formats/gguf.h"

#include <cstring>
#include <map>
#include <optional>

#include "tessera/engine/loader.h"
#include "tessera/formats/checkpoint.h"
#include "tessera/formats/gguf_testing.h"
#include "tessera/formats/safetensors.h"
#include "tessera/formats/test_util.h"
#include "tessera/models/synthetic.h"
#include "tests/golden/golden.h"

namespace tessera::golden {
namespace {

using gguf_testing::Builder;

// Type of the matrices; what its blocks do not fit stays f32, as public converters do it.
struct Stored {
  std::string name;
  uint32_t type = gguf_testing::kF32;
  std::optional<GgufBlock> block;
};

std::vector<Stored> AllTypes() {
  std::vector<Stored> all = {{"f32", gguf_testing::kF32, {}},
                             {"f16", gguf_testing::kF16, {}},
                             {"bf16", gguf_testing::kBF16, {}}};
  for (const GgufBlock block : kGgufBlocks) {
    all.push_back({std::string(FormatOf(block).name), gguf_testing::TypeId(block), block});
  }
  return all;
}

// The architectures that the public converter writes and we read.
std::vector<std::string> KnownNames() {
  return {"llama", "llama_rope3", "qwen2", "qwen3", "llada", "llada_gqa_tied", "dream"};
}

// The converter's order of Q and K rows, from its own formula: a head's [2, half] rows become
// [half, 2].
std::vector<float> Rotated(const std::vector<float>& values, int64_t heads, int64_t rows,
                           int64_t columns) {
  std::vector<float> out;
  const int64_t half = rows / heads / 2;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t i = 0; i < half; ++i) {
      for (int64_t j = 0; j < 2; ++j) {
        const int64_t row = (head * 2 + j) * half + i;
        out.insert(out.end(), values.begin() + row * columns, values.begin() + (row + 1) * columns);
      }
    }
  }
  return out;
}

Builder Metadata(const models::DecoderConfig& c, const std::string& architecture) {
  Builder b;
  const std::string p = architecture + ".";
  b.String("general.architecture", architecture);
  const auto number = [&](const char* key, int64_t value) {
    b.U32(p + key, static_cast<uint32_t>(value));
  };
  number("embedding_length", c.width);
  number("block_count", c.layers);
  number("feed_forward_length", c.ffn_width);
  number("attention.head_count", c.heads);
  number("attention.head_count_kv", c.kv_heads);
  number("attention.key_length", c.head_dim);
  number("attention.value_length", c.head_dim);
  number("rope.dimension_count", c.head_dim);
  number("context_length", c.traits.max_positions);
  b.F32(p + "attention.layer_norm_rms_epsilon", static_cast<float>(c.norm_eps));
  b.F32(p + "rope.freq_base", static_cast<float>(c.rope_theta));
  for (const ops::TokenId id : c.traits.stop_ids) {
    b.U32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(id));
  }
  if (c.traits.attention != ops::AttentionKind::kCausal) {
    b.U32("tokenizer.ggml.mask_token_id", static_cast<uint32_t>(c.traits.mask_id));
    b.Bool(p + "attention.causal", false);
    b.Bool("diffusion.shift_logits", c.traits.shifted_logits);
  }
  return b;
}

// Names in the file by names in the checkpoint.
std::map<std::string, std::string> GgufNames(const models::DecoderConfig& c) {
  std::map<std::string, std::string> names = {{c.names.embedding, "token_embd.weight"},
                                              {c.names.final_norm, "output_norm.weight"},
                                              {c.names.head, "output.weight"}};
  for (int64_t i = 0; i < c.layers; ++i) {
    for (const auto& [pattern, name] :
         {std::pair(c.names.attention_norm, "attn_norm.weight"),
          std::pair(c.names.q, "attn_q.weight"), std::pair(c.names.k, "attn_k.weight"),
          std::pair(c.names.v, "attn_v.weight"), std::pair(c.names.o, "attn_output.weight"),
          std::pair(c.names.q_bias, "attn_q.bias"), std::pair(c.names.k_bias, "attn_k.bias"),
          std::pair(c.names.v_bias, "attn_v.bias"), std::pair(c.names.q_norm, "attn_q_norm.weight"),
          std::pair(c.names.k_norm, "attn_k_norm.weight"),
          std::pair(c.names.ffn_norm, "ffn_norm.weight"),
          std::pair(c.names.gate, "ffn_gate.weight"), std::pair(c.names.up, "ffn_up.weight"),
          std::pair(c.names.down, "ffn_down.weight")}) {
      if (!pattern.empty()) {
        names[models::LayerName(pattern, i)] = fmt::format("blk.{}.{}", i, name);
      }
    }
  }
  return names;
}

// Every tensor as the file will hold it, in checkpoint order.
std::vector<Builder::Tensor> Tensors(const models::DecoderConfig& c, const TensorSource& source,
                                     const Stored& stored) {
  std::vector<Builder::Tensor> tensors;
  const std::map<std::string, std::string> names = GgufNames(c);
  const bool rotated = c.architecture == "llama" || c.architecture == "llada";
  for (const models::TensorSpec& spec : models::ListTensors(c)) {
    std::vector<float> values = ToFloats(*source.Get(spec.name));
    Builder::Tensor tensor{.name = names.at(spec.name), .shape = spec.shape};
    if (rotated &&
        (tensor.name.ends_with("attn_q.weight") || tensor.name.ends_with("attn_k.weight"))) {
      const int64_t heads = tensor.name.ends_with("attn_q.weight") ? c.heads : c.kv_heads;
      values = Rotated(values, heads, spec.shape[0], spec.shape[1]);
    }
    const bool fits = spec.shape.size() == 2 &&
                      (!stored.block || spec.shape[1] % FormatOf(*stored.block).weights == 0);
    tensor.type = fits ? stored.type : gguf_testing::kF32;
    tensor.data = fits && stored.block ? gguf_testing::Round(*stored.block, values)
                                       : gguf_testing::Floats(tensor.type, values);
    tensors.push_back(std::move(tensor));
  }
  if (c.rope_scaling.kind == models::RopeScaling::Kind::kLlama3) {
    models::DecoderConfig plain = c;
    plain.rope_scaling = {};
    const std::vector<float> before = RotaryFrequencies(plain), after = RotaryFrequencies(c);
    std::vector<float> factors;
    for (size_t i = 0; i < before.size(); ++i) factors.push_back(before[i] / after[i]);
    tensors.push_back({.name = "rope_freqs.weight",
                       .shape = {c.head_dim / 2},
                       .data = gguf_testing::Floats(gguf_testing::kF32, factors)});
  }
  return tensors;
}

struct Opened {
  engine::OpenedModel model;
  Loaded loaded;
};
Opened OpenAndLoad(const std::string& path, const std::string& device, ops::WeightType type) {
  Opened opened{.model = Unwrap(engine::OpenModel(path))};
  opened.loaded.device = Unwrap(backend::MakeDevice({.name = device, .threads = 2}));
  opened.loaded.model = Unwrap(
      models::Decoder::Load(opened.model.config, *opened.model.files.tensors, *opened.loaded.device,
                            {.format = ops::WeightFormat{.type = type}, .progress = {}}));
  return opened;
}

// Hands out the integers of a GGUF file as the f32 values they stand for.
class Dequantized : public TensorSource {
 public:
  explicit Dequantized(const TensorSource& base) : base_(base) {
    for (const std::string& name : base.names()) {
      const QuantizedTensor* tensor = base.FindQuantized(name);
      if (tensor == nullptr) continue;
      const int64_t rows = tensor->shape()[0], in = tensor->shape()[1];
      const int64_t group = tensor->layout().group;
      std::vector<uint8_t> codes(static_cast<size_t>(in));
      std::vector<float> scales(codes.size()), mins(codes.size());
      std::vector<float>& values = values_[name];
      for (int64_t row = 0; row < rows; ++row) {
        tensor->ReadRow(row, codes.data(), scales.data(), mins.data());
        for (int64_t k = 0; k < in; ++k) {
          const size_t g = static_cast<size_t>(k / group);
          values.push_back(scales[g] * codes[static_cast<size_t>(k)] + mins[g]);
        }
      }
      views_[name] = {reinterpret_cast<const std::byte*>(values.data()), DType::kF32,
                      tensor->shape()};
    }
  }
  size_t num_quantized() const { return views_.size(); }
  const std::string& origin() const override { return base_.origin(); }
  std::vector<std::string> names() const override { return base_.names(); }
  const TensorView* Find(std::string_view name) const override {
    const auto found = views_.find(std::string(name));
    return found == views_.end() ? base_.Find(name) : &found->second;
  }
  int64_t total_bytes() const override { return base_.total_bytes(); }

 private:
  const TensorSource& base_;
  std::map<std::string, std::vector<float>> values_;
  std::map<std::string, TensorView> views_;
};

// How far logits may lie from the original's: a few times what each type measures here.
double QuantisationBound(const Stored& stored) {
  if (!stored.block) return stored.type == gguf_testing::kF32 ? 1e-4 : 4e-2;
  switch (FormatOf(*stored.block).layout.bits) {
    case 8: return 0.05;
    case 6: return 0.15;
    case 5: return 0.25;
    default: return 0.7;
  }
}

// The same file on the reference device, integers against the values they stand for.
void ExpectEqualsDequantized(const Opened& quantized, const std::vector<int32_t>& ids) {
  const Dequantized values(*quantized.model.files.tensors);
  ASSERT_GT(values.num_quantized(), 0u);
  Loaded reference;
  reference.device = Unwrap(backend::MakeDevice({.name = "ref"}));
  reference.model = Unwrap(models::Decoder::Load(
      quantized.model.config, values, *reference.device,
      {.format = ops::WeightFormat{.type = ops::WeightType::kF32}, .progress = {}}));
  EXPECT_EQ(Logits(quantized.loaded, ids), Logits(reference, ids));
}

std::pair<std::vector<int32_t>, std::vector<float>> ReadCase(const std::string& name) {
  const auto expected = Unwrap(SafetensorsFile::Open(Folder(name) + "/expected.safetensors"));
  const TensorView input = Unwrap(expected->Get("input.1", Accept::kAnyDType));
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < NumElements(input.shape); ++i) {
    int64_t id;
    std::memcpy(&id, input.data + i * 8, 8);
    ids.push_back(static_cast<int32_t>(id));
  }
  return {ids, ToFloats(*expected->Get("logits.1"))};
}

// A file that the public `gguf` package wrote (tests/golden/gguf/make_gguf.py): names, row order
// and rounding are its own.
TEST(GgufGolden, FileOfThePublicPackage) {
  const auto [ids, logits] = ReadCase("llama");
  const Opened opened =
      OpenAndLoad(Folder("gguf") + "/llama-q8_0.gguf", "ref", ops::WeightType::kF32);
  EXPECT_NE(opened.model.files.tensors->FindQuantized("blk.0.attn_q.weight"), nullptr);
  const double error = RelativeError(Logits(opened.loaded, ids), logits);
  EXPECT_TRUE(error <= 0.05) << "relative error " << error;
  EXPECT_GT(error, 1e-4) << "nothing was rounded";
}

class GgufGoldenTypes : public ::testing::TestWithParam<std::string> {};

TEST_P(GgufGoldenTypes, EveryTypeGivesTheLogits) {
  const Files files = OpenFiles(GetParam());
  const auto [ids, logits] = ReadCase(GetParam());
  for (const Stored& stored : AllTypes()) {
    if (stored.block && files.config.width % FormatOf(*stored.block).weights != 0) continue;
    SCOPED_TRACE(stored.name);
    Builder b = Metadata(files.config, files.config.architecture);
    for (auto& tensor : Tensors(files.config, *files.files.tensors, stored)) {
      b.Add(std::move(tensor));
    }
    const TempFolder folder;
    const std::string path = folder.Write("m.gguf", b.Build());
    const Opened opened =
        OpenAndLoad(path, stored.block ? "ref" : DeviceName(), ops::WeightType::kF32);
    EXPECT_EQ(opened.model.config.tied_head, files.config.tied_head);
    EXPECT_EQ(opened.model.config.parameters(), files.config.parameters());
    EXPECT_EQ(opened.model.config.traits.shifted_logits, files.config.traits.shifted_logits);
    EXPECT_EQ(opened.model.config.traits.stop_ids, files.config.traits.stop_ids);
    const double error = RelativeError(Logits(opened.loaded, ids), logits);
    EXPECT_TRUE(error <= QuantisationBound(stored)) << "relative error " << error;
    if (stored.block) ExpectEqualsDequantized(opened, ids);
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, GgufGoldenTypes, ::testing::ValuesIn(KnownNames()),
                         [](const auto& test) { return test.param; });

// Golden models are too narrow for blocks of 256: random ones of width 256, one of them split.
class GgufWide : public ::testing::TestWithParam<std::string> {};

TEST_P(GgufWide, EveryTypeAndASplitSet) {
  Files files = OpenFiles(GetParam());
  models::DecoderConfig& config = files.config;
  config.width = 256;
  config.head_dim = 64;
  config.ffn_width = 512;
  const TempFolder folder;
  ASSERT_TRUE(models::WriteSyntheticWeights(config, folder.path(),
                                            {.seed = 5, .dtype = DType::kF32, .progress = {}})
                  .ok());
  const auto weights = Unwrap(Checkpoint::Open(folder.path()));
  Loaded original;
  original.device = Unwrap(backend::MakeDevice({.name = "ref"}));
  original.model = Unwrap(models::Decoder::Load(
      config, *weights, *original.device,
      {.format = ops::WeightFormat{.type = ops::WeightType::kF32}, .progress = {}}));
  const std::vector<int32_t> ids = {5, 99, 7, 120, 33};
  const std::vector<float> logits = Logits(original, ids);
  for (const Stored& stored : AllTypes()) {
    SCOPED_TRACE(stored.name);
    const TempFolder model;
    const std::vector<Builder::Tensor> tensors = Tensors(config, *weights, stored);
    const size_t parts = stored.name == "Q4_K" ? 3 : 1;
    for (size_t part = 0; part < parts; ++part) {
      Builder b = Metadata(config, config.architecture);
      b.Pair("split.no", 2, gguf_testing::Raw(static_cast<uint16_t>(part)));
      b.Pair("split.count", 2, gguf_testing::Raw(static_cast<uint16_t>(parts)));
      for (size_t i = part; i < tensors.size(); i += parts) b.Add(tensors[i]);
      model.Write(parts == 1 ? "m.gguf" : fmt::format("m-{:05}-of-{:05}.gguf", part + 1, parts),
                  b.Build());
    }
    const Opened opened = OpenAndLoad(model.path(), "ref", ops::WeightType::kF32);
    const double error = RelativeError(Logits(opened.loaded, ids), logits);
    EXPECT_TRUE(error <= QuantisationBound(stored)) << "relative error " << error;
    EXPECT_TRUE(stored.type == gguf_testing::kF32 || error > 1e-6) << "nothing was rounded";
    if (stored.block) ExpectEqualsDequantized(opened, ids);
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, GgufWide,
                         ::testing::Values("llama_rope3", "llada", "dream"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace tessera::golden
