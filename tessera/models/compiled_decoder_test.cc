// A device that runs whole forwards gets everything it needs, and nothing else is asked of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "tessera/models/decoder.h"
#include "tessera/models/synthetic_source.h"
#include "tessera/models/testing.h"
#include "tessera/ops/rotary.h"

namespace tessera::models {
namespace {

DecoderConfig SmallConfig() {
  DecoderConfig config;
  config.vocab = 40;
  config.width = 32;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.rotary_dim = 4;
  config.ffn_width = 48;
  config.names = ShortNames();
  config.names.q_bias = "{}.qb";
  config.names.k_bias = "{}.kb";
  config.names.v_bias = "{}.vb";
  config.names.q_norm = "{}.qn";
  config.names.k_norm = "{}.kn";
  return config;
}

// Vectors with values of their own, so that none can stand for another.
class VariedSource : public SyntheticSource {
 public:
  using SyntheticSource::SyntheticSource;

  const TensorView* Find(std::string_view name) const override {
    const TensorView* ones = SyntheticSource::Find(name);
    if (ones == nullptr || ones->shape.size() != 1) return ones;
    auto& [view, values] = vectors_[std::string(name)];
    if (values.empty()) {
      const float base = 0.8f + 0.03f * static_cast<float>(vectors_.size());
      for (int64_t i = 0; i < ones->shape[0]; ++i) {
        values.push_back(base + 0.1f * std::sin(static_cast<float>(i) * base));
      }
      view = {reinterpret_cast<const std::byte*>(values.data()), DType::kF32, ones->shape};
    }
    return &view;
  }

 private:
  mutable std::map<std::string, std::pair<TensorView, std::vector<float>>> vectors_;
};

// The contract of ops::DecoderShape in operations of the reference.
class PlainDecoder : public ops::CompiledDecoder {
 public:
  PlainDecoder(ops::Device& device, const ops::DecoderShape& shape)
      : device_(device), shape_(shape) {}

  Status Run(const ops::DecoderArgs& args) override {
    const auto rows = static_cast<int64_t>(args.tokens.size());
    const int64_t q = int64_t{shape_.heads} * shape_.head_dim;
    const int64_t inner = shape_.layers[0].down->in();
    const size_t rotated = 2 * shape_.frequencies.size();
    std::vector<float> table, cos_sin;
    ops::ExtendRotaryTable(shape_.frequencies,
                           1 + *std::max_element(args.positions.begin(), args.positions.end()),
                           &table);
    for (const int32_t position : args.positions) {
      const auto entry = table.begin() + position * static_cast<int64_t>(rotated);
      cos_sin.insert(cos_sin.end(), entry, entry + static_cast<int64_t>(rotated));
    }
    const auto floats = [&](int64_t width) {
      return std::vector<float>(static_cast<size_t>(rows * width));
    };
    std::vector<float> hidden = floats(shape_.width), normed = hidden, attended = floats(q);
    std::vector<float> qkv = floats(shape_.layers[0].qkv->out());
    std::vector<float> gate_up = floats(2 * inner), silu = floats(inner);
    const auto norm = [&](const float* weight, std::vector<float>& x, std::vector<float>& out,
                          int64_t count) {
      return device_.RmsNorm({count, shape_.width, x.data(), weight, shape_.norm_eps, out.data()});
    };
    const auto linear = [&](const ops::Matrix* weight, const float* bias, std::vector<float>& x,
                            std::vector<float>& y, bool accumulate) {
      return device_.Linear({rows, x.data(), weight, bias, y.data(), accumulate});
    };
    TESSERA_RETURN_IF_ERROR(device_.Embed({shape_.embedding, args.tokens, hidden.data()}));
    for (size_t i = 0; i < shape_.layers.size(); ++i) {
      const ops::DecoderLayer& layer = shape_.layers[i];
      TESSERA_RETURN_IF_ERROR(norm(layer.attention_norm, hidden, normed, rows));
      TESSERA_RETURN_IF_ERROR(linear(layer.qkv, layer.qkv_bias, normed, qkv, false));
      TESSERA_RETURN_IF_ERROR(device_.RotateAndStore(
          {rows, qkv.data(), shape_.heads, layer.q_norm, layer.k_norm, shape_.norm_eps,
           static_cast<int32_t>(rotated), cos_sin.data(), args.slots, args.groups, args.kv[i]}));
      const float scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim));
      TESSERA_RETURN_IF_ERROR(device_.Attention(
          {qkv.data(), shape_.heads, scale, args.slots, args.groups, args.kv[i], attended.data()}));
      TESSERA_RETURN_IF_ERROR(linear(layer.o, nullptr, attended, hidden, true));
      TESSERA_RETURN_IF_ERROR(norm(layer.ffn_norm, hidden, normed, rows));
      TESSERA_RETURN_IF_ERROR(linear(layer.gate_up, nullptr, normed, gate_up, false));
      TESSERA_RETURN_IF_ERROR(device_.SiluMul({rows, inner, gate_up.data(), silu.data()}));
      TESSERA_RETURN_IF_ERROR(linear(layer.down, nullptr, silu, hidden, true));
    }
    TESSERA_RETURN_IF_ERROR(
        device_.GatherRows({args.out_rows, shape_.width, hidden.data(), normed.data()}));
    const auto outputs = static_cast<int64_t>(args.out_rows.size());
    TESSERA_RETURN_IF_ERROR(norm(shape_.final_norm, normed, normed, outputs));
    return device_.HeadStats({outputs, normed.data(), shape_.head, args.requests, args.stats});
  }

 private:
  ops::Device& device_;
  ops::DecoderShape shape_;
};

class CompilingDevice : public ReferenceDevice {
 public:
  Result<std::unique_ptr<ops::CompiledDecoder>> CompileDecoder(
      const ops::DecoderShape& shape) override {
    ++compiled;
    return std::unique_ptr<ops::CompiledDecoder>(new PlainDecoder(plain_, shape));
  }
  Status Linear(const ops::LinearArgs& args) override {
    ++products;
    return ReferenceDevice::Linear(args);
  }

  int compiled = 0, products = 0;  // of the model itself

 private:
  ReferenceDevice plain_;
};

// Two forwards of one sequence: a prefix without outputs, then rows with statistics.
std::vector<ops::RowStats> Decode(ops::Device& device) {
  const ops::WeightFormat f32 = {.type = ops::WeightType::kF32};
  const VariedSource source(SmallConfig(), f32);
  auto model = Decoder::Load(SmallConfig(), source, device, {.format = f32});
  TESSERA_CHECK(model.ok());
  auto kv = *(*model)->MakeKvCache(2);
  kv::PageTable pages(kv->pool());
  TESSERA_CHECK(pages.Reserve(12).ok());
  std::vector<int32_t> all(12), tokens(12);
  std::iota(all.begin(), all.end(), 0);
  for (const int32_t i : all) tokens[static_cast<size_t>(i)] = (7 * i + 3) % 40;

  std::vector<ops::RowStats> stats(2);
  const ops::SamplingSpec sampling = {.temperature = 0.8f};
  const std::vector<int32_t> out_rows = {1, 3};
  const std::vector<ops::RowRequest> requests = {
      {.row = 1, .sampling = &sampling, .key = {.seed = 5}},
      {.row = 0, .sampling = &sampling, .key = {.seed = 6}}};
  const auto forward = [&](size_t begin, size_t end, bool outputs) {
    const ops::SlotRange keys{0, static_cast<int32_t>(end)};
    const ops::AttentionGroup group = {
        .row_begin = 0,
        .row_end = static_cast<int32_t>(end - begin),
        .pages = pages.pages(),
        .mask = {.rule = ops::MaskRule::kCausal, .slots = {&keys, 1}}};
    ForwardInput input = {.tokens = std::span(tokens).subspan(begin, end - begin),
                          .positions = std::span(all).subspan(begin, end - begin),
                          .slots = std::span(all).subspan(begin, end - begin),
                          .groups = {&group, 1}};
    if (!outputs) return (*model)->Forward(input, *kv, {}, {});
    input.out_rows = out_rows;
    return (*model)->Forward(input, *kv, requests, stats);
  };
  TESSERA_CHECK(forward(0, 8, false).ok());
  TESSERA_CHECK(forward(8, 12, true).ok());
  return stats;
}

TEST(CompiledDecoder, GetsTheWholeNetwork) {
  ReferenceDevice reference;
  CompilingDevice compiling;
  const std::vector<ops::RowStats> expected = Decode(reference), got = Decode(compiling);
  EXPECT_EQ(compiling.compiled, 1);
  EXPECT_EQ(compiling.products, 0);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(got[i].argmax, expected[i].argmax);
    EXPECT_EQ(got[i].sampled, expected[i].sampled);
    EXPECT_EQ(got[i].lse, expected[i].lse);
    EXPECT_EQ(got[i].entropy, expected[i].entropy);
  }
  EXPECT_NE(expected[0].lse, expected[1].lse);
}

}  // namespace
}  // namespace tessera::models
