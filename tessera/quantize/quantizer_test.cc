#include "tessera/quantize/quantizer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "tessera/formats/checkpoint.h"
#include "tessera/models/decoder.h"
#include "tessera/models/synthetic.h"
#include "tessera/ops/ref/ref_device.h"
#include "tessera/quantize/layer_walk.h"
#include "tessera/quantize/testing.h"

namespace tessera::quantize {
namespace {

namespace fs = std::filesystem;

class Quantizing : public ::testing::Test {
 protected:
  Quantizing() {
    std::string pattern = (fs::temp_directory_path() / "tessera-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    fs::create_directory(Path("in"));
    fs::create_directory(Path("out"));
    config_.architecture = "test";
    config_.vocab = 50;
    config_.width = 64;
    config_.layers = 2;
    config_.heads = 4;
    config_.kv_heads = 2;
    config_.head_dim = 16;
    config_.ffn_width = 72;
    config_.names = {.embedding = "embed",
                     .final_norm = "norm",
                     .head = "head",
                     .attention_norm = "{}.n1",
                     .q = "{}.q",
                     .k = "{}.k",
                     .v = "{}.v",
                     .o = "{}.o",
                     .ffn_norm = "{}.n2",
                     .gate = "{}.gate",
                     .up = "{}.up",
                     .down = "{}.down"};
    config_.traits = {.attention = ops::AttentionKind::kBidirectional,
                      .mask_id = 49,
                      .vocab_size = 50,
                      .max_positions = 128};
  }
  ~Quantizing() override { fs::remove_all(root_); }

  std::string Path(const std::string& name) const { return root_ + "/" + name; }

  void MakeModel(DType dtype = DType::kF32) {
    ASSERT_TRUE(
        models::WriteSyntheticWeights(config_, Path("in"), {.seed = 1, .dtype = dtype}).ok());
    source_ = *Checkpoint::Open(Path("in"));
  }

  CalibrationSet Calibrate(int64_t rows, uint64_t seed) const {
    std::vector<CalibrationText> texts(6);
    for (size_t i = 0; i < texts.size(); ++i) {
      for (int32_t k = 0; k < 40; ++k) {
        texts[i].tokens.push_back((k * k + 7 * static_cast<int32_t>(i)) % 49);
      }
    }
    return *MakeCalibration(texts, config_.traits, {.max_rows = rows, .seed = seed});
  }

  Result<QuantizeReport> Quantize(const QuantizeOptions& options) {
    return QuantizeWeights(config_, *source_, *device_, pool_, Path("out"), options);
  }

  // The written checkpoint, its config as the report says.
  std::unique_ptr<QuantizedCheckpoint> Reopen(const QuantizeReport& report) const {
    StoredMatrices matrices;
    for (const MatrixReport& matrix : report.matrices) {
      matrices.emplace(matrix.name, matrix.matrix);
    }
    auto opened = QuantizedCheckpoint::Open(*Checkpoint::Open(Path("out")), matrices);
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    return *std::move(opened);
  }

  // Of a few sequences, one after the other.
  std::vector<float> Logits(const TensorSource& source) {
    const auto model = models::Decoder::Load(
        config_, source, *device_, {.format = ops::WeightFormat{.type = ops::WeightType::kF32}});
    EXPECT_TRUE(model.ok()) << model.status().message();
    auto kv = *(*model)->MakeKvCache(1);
    kv::PageTable pages(kv->pool());
    EXPECT_TRUE(pages.Reserve(40).ok());
    std::vector<int32_t> positions(40);
    std::iota(positions.begin(), positions.end(), 0);
    const ops::SlotRange keys{0, 40};
    const ops::AttentionGroup group = WholeSequence(pages, keys);
    std::vector<float> all;
    for (const auto& tokens : Calibrate(400, /*seed=*/2).sequences) {
      std::vector<float> logits;
      EXPECT_TRUE((*model)
                      ->ForwardLogits({.tokens = tokens,
                                       .positions = positions,
                                       .slots = positions,
                                       .groups = {&group, 1},
                                       .out_rows = positions},
                                      *kv, &logits)
                      .ok());
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  }

  static ops::AttentionGroup WholeSequence(const kv::PageTable& pages, const ops::SlotRange& keys) {
    return {.row_begin = 0,
            .row_end = keys.end,
            .pages = pages.pages(),
            .mask = {.rule = ops::MaskRule::kFull, .slots = {&keys, 1}}};
  }

  static double Distance(const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      difference += (a[i] - b[i]) * (a[i] - b[i]);
      size += a[i] * a[i];
    }
    return std::sqrt(difference / size);
  }

  std::string root_;
  models::DecoderConfig config_;
  std::unique_ptr<Checkpoint> source_;
  std::unique_ptr<ops::Device> device_ = ops::ref::MakeRefDevice();
  ThreadPool pool_{2};
};

constexpr QuantizedLayout kInt8{.bits = 8, .group = 0, .symmetric = true};

TEST_F(Quantizing, EveryLayoutLoadsAndComesClose) {
  MakeModel();
  const std::vector<float> exact = Logits(*source_);
  for (const QuantizedLayout& layout : EveryLayout()) {
    const auto report = Quantize({.layout = layout, .embedding = {}, .head = kInt8});
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->matrices.size(), 2u * 7 + 1);
    EXPECT_EQ(report->kept, std::vector<std::string>{"embed"});
    const auto checkpoint = Reopen(*report);
    EXPECT_EQ(checkpoint->total_bytes(), report->bytes);
    EXPECT_LT(report->bytes, report->source_bytes / 2);
    EXPECT_LT(Distance(exact, Logits(*checkpoint)), layout.bits == 8 ? 0.03 : 0.4)
        << LayoutName(layout);
    for (const MatrixReport& matrix : report->matrices) {
      EXPECT_FALSE(matrix.output_error.has_value());
      EXPECT_GT(matrix.weight_error, 0);
      EXPECT_LT(matrix.weight_error, matrix.matrix.layout.bits == 8 ? 0.01 : 0.15) << matrix.name;
    }
  }
}

TEST_F(Quantizing, GptqIsNearerThanRoundingMatrixByMatrix) {
  MakeModel(DType::kBF16);
  const CalibrationSet set = Calibrate(4000, /*seed=*/1);
  const QuantizedLayout layout{.bits = 4, .group = 32, .symmetric = true};
  const auto rounded =
      Quantize({.layout = layout, .embedding = {}, .head = kInt8, .calibration = &set});
  ASSERT_TRUE(rounded.ok()) << rounded.status().message();
  const double before = Distance(Logits(*source_), Logits(*Reopen(*rounded)));
  const auto report = Quantize({.method = Method::kGptq,
                                .layout = layout,
                                .embedding = {},
                                .head = kInt8,
                                .calibration = &set});
  ASSERT_TRUE(report.ok()) << report.status().message();
  const double after = Distance(Logits(*source_), Logits(*Reopen(*report)));
  EXPECT_LT(after, before);
  // Layer 0 sees the same rows in both, so there the promise is exact.
  for (size_t i = 0; i < report->matrices.size(); ++i) {
    const MatrixReport &a = report->matrices[i], &b = rounded->matrices[i];
    ASSERT_EQ(a.name, b.name);
    ASSERT_EQ(a.output_error.has_value(), a.name != "head");
    if (!a.name.starts_with("0.")) continue;
    EXPECT_LE(*a.output_error, *b.output_error) << a.name;
    EXPECT_EQ(a.method, Method::kGptq);
  }
  EXPECT_LT(*report->matrices[1].output_error, 0.8 * *rounded->matrices[1].output_error);
}

TEST_F(Quantizing, TiedEmbeddingIsTheHead) {
  config_.tied_head = true;
  MakeModel();
  const auto report = Quantize({.layout = kInt8, .embedding = {}, .head = kInt8});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->matrices.front().name, "embed");
  EXPECT_TRUE(report->kept.empty());
  const auto checkpoint = Reopen(*report);
  EXPECT_NE(checkpoint->FindQuantized("embed"), nullptr);
  EXPECT_LT(Distance(Logits(*source_), Logits(*checkpoint)), 0.03);
}

TEST_F(Quantizing, ShardsAndTheirIndex) {
  MakeModel();
  const auto report =
      Quantize({.layout = kInt8, .embedding = kInt8, .head = kInt8, .max_shard_bytes = 20'000});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_TRUE(fs::exists(Path("out/model.safetensors.index.json")));
  EXPECT_LT(Distance(Logits(*source_), Logits(*Reopen(*report))), 0.03);
}

TEST_F(Quantizing, Refusals) {
  MakeModel();
  EXPECT_EQ(Quantize({.method = Method::kGptq, .layout = kInt8}).status().code(),
            StatusCode::kInvalidArgument);
  int calls = 0;
  EXPECT_EQ(Quantize({.layout = kInt8, .progress = [&](int64_t, int64_t) { return ++calls < 3; }})
                .status()
                .code(),
            StatusCode::kCancelled);
  EXPECT_TRUE(fs::is_empty(Path("out")));
  const auto done = Quantize({.layout = kInt8});
  ASSERT_TRUE(done.ok());
  // What is quantised already is not quantised again.
  fs::create_directory(Path("again"));
  const auto checkpoint = Reopen(*done);
  const auto again =
      QuantizeWeights(config_, *checkpoint, *device_, pool_, Path("again"), {.layout = kInt8});
  EXPECT_EQ(again.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(again.status().message().find("int8 already"), std::string::npos);
  // A tensor that the config wants and the file lacks.
  config_.layers = 3;
  EXPECT_EQ(Quantize({.layout = kInt8}).status().code(), StatusCode::kNotFound);
}

// The walk gives the linears what a whole forward gives them, and the hidden rows with them.
TEST_F(Quantizing, LayerByLayerEqualsTheWholeModel) {
  MakeModel();
  const CalibrationSet set = Calibrate(400, /*seed=*/1);
  const ops::WeightFormat f32{.type = ops::WeightType::kF32};
  LayerWalk walk(config_, *source_, *device_, f32, set.sequences);
  ASSERT_TRUE(walk.Embed({}).ok());
  std::vector<std::vector<float>> seen(8), whole(8);
  const auto collect = [](std::vector<std::vector<float>>* into, size_t layer) {
    return [=](models::LinearSite site, int64_t rows, int64_t width, const float* x) -> Status {
      auto& values = (*into)[4 * layer + static_cast<size_t>(site)];
      values.insert(values.end(), x, x + rows * width);
      return OkStatus();
    };
  };
  for (int64_t layer = 0; layer < 2; ++layer) {
    ASSERT_TRUE(walk.Observe(layer, collect(&seen, static_cast<size_t>(layer))).ok());
    ASSERT_TRUE(walk.Advance(layer, {}).ok());
  }
  // The same through the decoder as a whole: its observer counts the layers by their sites.
  const auto model = models::Decoder::Load(config_, *source_, *device_, {.format = f32});
  ASSERT_TRUE(model.ok());
  auto kv = *(*model)->MakeKvCache(1);
  kv::PageTable pages(kv->pool());
  ASSERT_TRUE(pages.Reserve(40).ok());
  std::vector<int32_t> positions(40);
  std::iota(positions.begin(), positions.end(), 0);
  const ops::SlotRange keys{0, 40};
  const ops::AttentionGroup group = WholeSequence(pages, keys);
  for (const auto& tokens : set.sequences) {
    std::vector<float> hidden;
    const TensorView table = *source_->Get("embed");
    for (const ops::TokenId token : tokens) {
      for (int64_t k = 0; k < 64; ++k) hidden.push_back(FloatAt(table, token * 64 + k));
    }
    size_t calls = 0;
    const auto observer = [&](models::LinearSite site, int64_t rows, int64_t width,
                              const float* x) -> Status {
      return collect(&whole, calls++ / 4)(site, rows, width, x);
    };
    ASSERT_TRUE((*model)
                    ->ForwardLayers({.tokens = tokens,
                                     .positions = positions,
                                     .slots = positions,
                                     .groups = {&group, 1},
                                     .out_rows = {}},
                                    *kv, observer, hidden)
                    .ok());
  }
  for (size_t i = 0; i < 8; ++i) {
    ASSERT_FALSE(seen[i].empty());
    EXPECT_EQ(seen[i], whole[i]) << "layer " << i / 4 << " site " << i % 4;
  }
}

}  // namespace
}  // namespace tessera::quantize
