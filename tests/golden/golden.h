// Loads the golden folders of this directory: model, inputs and expected outputs.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tessera/backend/registry.h"
#include "tessera/formats/model_files.h"
#include "tessera/models/architecture.h"
#include "tessera/models/decoder.h"

namespace tessera::golden {

// The value, or a message that says why a golden cannot be used.
template <typename T>
T Unwrap(Result<T> result) {
  if (!result.ok()) fmt::print(stderr, "golden: {}\n", result.status().message());
  return std::move(result).value();
}

inline std::string Folder(const std::string& name) {
  return std::string(TESSERA_SOURCE_DIR) + "/tests/golden/" + name;
}

inline const std::vector<std::string>& Names() {
  static const std::vector<std::string> names = {
      "llama",          "llama_rope3", "qwen2",
      "qwen3",          "qwen3_moe",   "llada",
      "llada_gqa_tied", "llada_moe",   "llada_moe_shared",
      "llada2_moe",     "dream",       "sdar",
      "sdar_moe",       "fast_dllm_v2"};
  return names;
}

// A TensorSource that hands out another one's tensors, one of them with every other element scaled.
class PerturbedSource : public TensorSource {
 public:
  PerturbedSource(const TensorSource& base, std::string name, float factor)
      : base_(base), name_(std::move(name)) {
    const TensorView* original = base.Find(name_);
    values_ = ToFloats(*original);
    for (size_t i = 0; i < values_.size(); i += 2) values_[i] *= factor;
    changed_ = *original;
    changed_.dtype = DType::kF32;
    changed_.data = reinterpret_cast<const std::byte*>(values_.data());
  }
  const std::string& origin() const override { return base_.origin(); }
  std::vector<std::string> names() const override { return base_.names(); }
  const TensorView* Find(std::string_view name) const override {
    return name == name_ ? &changed_ : base_.Find(name);
  }
  int64_t total_bytes() const override { return base_.total_bytes(); }

 private:
  const TensorSource& base_;
  std::string name_;
  std::vector<float> values_;
  TensorView changed_;
};

// What the models run on: the environment's TESSERA_TEST_DEVICE, for example "cuda:0"; else "cpu".
inline std::string DeviceName() {
  const char* named = std::getenv("TESSERA_TEST_DEVICE");
  return named != nullptr && *named != '\0' ? named : "cpu";
}
inline std::unique_ptr<ops::Device> MakeDevice(const std::string& isa = "auto", int threads = 2) {
  return Unwrap(backend::MakeDevice({.name = DeviceName(), .isa = isa, .threads = threads}));
}
// Instruction-set levels of the CPU; other devices have one way to compute.
inline std::vector<std::string> Isas() {
  return DeviceName() == "cpu" ? backend::AvailableIsas() : std::vector<std::string>{"auto"};
}

struct Loaded {
  std::unique_ptr<ops::Device> device;
  std::unique_ptr<models::Decoder> model;
};

// Config and files of a golden; Fast-dLLM v2's config does not name the mask token, so it is added.
struct Files {
  ModelFiles files;
  models::DecoderConfig config;
};
inline Files OpenFiles(const std::string& name) {
  ModelFiles files = Unwrap(OpenModelFiles(Folder(name) + "/model"));
  files.config["mask_token_id"] = 156;
  const JsonObject object = Unwrap(JsonObject::Of(files.config, files.config_name));
  models::DecoderConfig config = Unwrap(Unwrap(models::FindArchitecture(object))->parse(object));
  return {.files = std::move(files), .config = std::move(config)};
}

inline Loaded Load(const std::string& name, ops::WeightType type, const std::string& isa = "auto",
                   const TensorSource* tensors = nullptr) {
  const Files files = OpenFiles(name);
  Loaded loaded;
  loaded.device = MakeDevice(isa);
  loaded.model = Unwrap(models::Decoder::Load(
      files.config, tensors == nullptr ? *files.files.tensors : *tensors, *loaded.device,
      {.format = ops::WeightFormat{.type = type}, .progress = {}}));
  return loaded;
}

// Raw logits [length, vocab] of one input under the model's own mask.
inline std::vector<float> Logits(const Loaded& loaded, const std::vector<int32_t>& ids) {
  const ops::ModelTraits& traits = loaded.model->traits();
  std::unique_ptr<kv::KvCache> kv = *loaded.model->MakeKvCache(8);
  kv::PageTable pages(kv->pool());
  const int32_t length = static_cast<int32_t>(ids.size());
  TESSERA_CHECK(pages.Reserve(length).ok());
  std::vector<int32_t> positions(ids.size());
  for (int32_t i = 0; i < length; ++i) positions[static_cast<size_t>(i)] = i;
  const std::vector<ops::SlotRange> keys = {{0, length}};
  ops::MaskSpec mask{.rule = ops::MaskRule::kFull, .block = 0, .slots = keys, .bits = {}};
  if (traits.attention == ops::AttentionKind::kCausal) mask.rule = ops::MaskRule::kCausal;
  if (traits.attention == ops::AttentionKind::kBlockCausal) {
    mask.rule = ops::MaskRule::kBlockCausal;
    mask.block = traits.block;
  }
  const std::vector<ops::AttentionGroup> groups = {
      {.row_begin = 0, .row_end = length, .pages = pages.pages(), .mask = mask}};
  std::vector<float> logits;
  const Status status = loaded.model->ForwardLogits({.tokens = ids,
                                                     .positions = positions,
                                                     .slots = positions,
                                                     .groups = groups,
                                                     .out_rows = positions},
                                                    *kv, &logits);
  TESSERA_CHECK(status.ok());
  return logits;
}

// ||a - b|| / ||b||; NaN when either holds one, so compare with !(error <= tolerance).
inline double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::quiet_NaN();
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    norm += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference / norm);
}

}  // namespace tessera::golden
