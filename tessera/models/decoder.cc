#include "tessera/models/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "tessera/ops/rotary.h"
#include "tessera/ops/weight_rounding.h"

namespace tessera::models {
namespace {

// Rows of the FFN evaluated at once: enough to make its linears compute-bound, while the
// [rows, 2 * ffn_width] activations of a long prefill stay small.
constexpr int64_t kFfnRows = 512;

float* Floats(const std::unique_ptr<ops::DeviceBuffer>& buffer) {
  return buffer ? static_cast<float*>(buffer->data) : nullptr;
}

}  // namespace

// Reads the tensors of one checkpoint in file order and keeps count.
class Decoder::Loader {
 public:
  Loader(const TensorSource& source, Decoder& model, const LoadOptions& options)
      : source_(source), model_(model), options_(options), total_(source.total_bytes()) {}

  Result<TensorView> Read(const std::string& name, const Shape& shape) {
    TESSERA_ASSIGN_OR_RETURN(TensorView tensor, source_.GetFinite(name, shape));
    TESSERA_RETURN_IF_ERROR(Count(tensor.bytes()));
    return tensor;
  }

  // The same, or integers with scales where the file holds them.
  Result<ops::MatrixPart> ReadWeight(const std::string& name, const Shape& shape) {
    source_.Advise(name, MapAdvice::kPopulate);
    if (source_.FindQuantized(name) == nullptr) {
      TESSERA_ASSIGN_OR_RETURN(TensorView tensor, Read(name, shape));
      return ops::MatrixPart(std::move(tensor));
    }
    TESSERA_ASSIGN_OR_RETURN(const QuantizedTensor* tensor,
                             source_.GetQuantizedFinite(name, shape));
    TESSERA_RETURN_IF_ERROR(Count(tensor->bytes()));
    return ops::MatrixPart(tensor);
  }

  struct Part {
    std::string name;
    int64_t out;
  };

  Result<std::unique_ptr<ops::Matrix>> ReadMatrix(const std::vector<Part>& parts, int64_t in) {
    return ReadMatrix(parts, in, options_.format);
  }

  // Embedding and head.
  Result<std::unique_ptr<ops::Matrix>> ReadVocabulary(const std::string& name) {
    std::optional<ops::WeightFormat> format = options_.format;
    if (format && ops::IsInteger(format->type)) {
      format = {.type = ops::WeightType::kInt8, .group = 256, .symmetric = true};
    }
    return ReadMatrix({{name, model_.config_.vocab}}, model_.config_.width, format);
  }

  // Unset format: as stored.
  Result<std::unique_ptr<ops::Matrix>> ReadMatrix(const std::vector<Part>& parts, int64_t in,
                                                  const std::optional<ops::WeightFormat>& format,
                                                  bool paired = false) {
    ops::MatrixSource matrix = {.parts = {}, .format = {}, .paired = paired};
    for (const Part& part : parts) {
      TESSERA_ASSIGN_OR_RETURN(ops::MatrixPart weight, ReadWeight(part.name, {part.out, in}));
      matrix.parts.push_back(std::move(weight));
    }
    const bool stored_integers =
        std::all_of(matrix.parts.begin(), matrix.parts.end(),
                    [](const ops::MatrixPart& part) { return part.quantized != nullptr; });
    matrix.format = format            ? *format
                    : stored_integers ? ops::FormatFor(matrix.parts)
                                      : model_.format_;
    TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<ops::Matrix> packed, model_.device_.Pack(matrix));
    for (const Part& part : parts) source_.Advise(part.name, MapAdvice::kDontNeed);
    model_.weight_bytes_ += packed->bytes();
    return packed;
  }

  // Several vectors one after the other; null when the names are empty.
  Result<Vector> ReadVector(const std::vector<Part>& parts) {
    if (parts.front().name.empty()) return Vector();
    std::vector<float> values;
    for (const Part& part : parts) {
      TESSERA_ASSIGN_OR_RETURN(TensorView tensor, Read(part.name, {part.out}));
      const std::vector<float> floats = ToFloats(tensor);
      values.insert(values.end(), floats.begin(), floats.end());
    }
    model_.weight_bytes_ += static_cast<int64_t>(values.size() * sizeof(float));
    return model_.device_.Upload(values);
  }

  Result<Layer> ReadLayer(int64_t index) {
    const DecoderConfig& config = model_.config_;
    const TensorNames& names = config.names;
    const int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
    const auto at = [&](const std::string& pattern) {
      return pattern.empty() ? pattern : LayerName(pattern, index);
    };
    Layer layer;
    TESSERA_ASSIGN_OR_RETURN(layer.attention_norm,
                             ReadVector({{at(names.attention_norm), config.width}}));
    if (names.qkv.empty()) {
      TESSERA_ASSIGN_OR_RETURN(
          layer.qkv,
          ReadMatrix({{at(names.q), q}, {at(names.k), kv}, {at(names.v), kv}}, config.width));
      TESSERA_ASSIGN_OR_RETURN(
          layer.qkv_bias,
          ReadVector({{at(names.q_bias), q}, {at(names.k_bias), kv}, {at(names.v_bias), kv}}));
    } else {
      TESSERA_ASSIGN_OR_RETURN(layer.qkv, ReadMatrix({{at(names.qkv), q + 2 * kv}}, config.width));
      TESSERA_ASSIGN_OR_RETURN(layer.qkv_bias, ReadVector({{at(names.qkv_bias), q + 2 * kv}}));
    }
    TESSERA_ASSIGN_OR_RETURN(layer.q_norm, ReadVector({{at(names.q_norm), config.head_dim}}));
    TESSERA_ASSIGN_OR_RETURN(layer.k_norm, ReadVector({{at(names.k_norm), config.head_dim}}));
    TESSERA_ASSIGN_OR_RETURN(layer.o, ReadMatrix({{at(names.o), config.width}}, q));
    TESSERA_ASSIGN_OR_RETURN(layer.ffn_norm, ReadVector({{at(names.ffn_norm), config.width}}));
    if (config.IsMixture(index)) {
      TESSERA_ASSIGN_OR_RETURN(layer.mixture, ReadMixture(index));
      if (config.mixture.shared_width == 0) return layer;
      TESSERA_ASSIGN_OR_RETURN(layer.ffn,
                               ReadFeedForward(at(names.shared_gate), at(names.shared_up),
                                               at(names.shared_down), config.mixture.shared_width));
    } else {
      TESSERA_ASSIGN_OR_RETURN(layer.ffn, ReadFeedForward(at(names.gate), at(names.up),
                                                          at(names.down), config.ffn_width));
    }
    return layer;
  }

  Result<std::unique_ptr<JointLayer>> ReadJointLayer() {
    const DecoderConfig& config = model_.config_;
    const int64_t width = config.width;
    const int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
    const auto name = [](const char* part) { return fmt::format("joint.{}.weight", part); };
    auto joint = std::make_unique<JointLayer>();
    TESSERA_ASSIGN_OR_RETURN(joint->hidden, ReadMatrix({{name("hidden"), width}}, width));
    TESSERA_ASSIGN_OR_RETURN(joint->token, ReadMatrix({{name("token"), width}}, width));
    Layer& layer = joint->layer;
    TESSERA_ASSIGN_OR_RETURN(layer.attention_norm, ReadVector({{name("attn_norm"), width}}));
    TESSERA_ASSIGN_OR_RETURN(layer.ffn_norm, ReadVector({{name("ff_norm"), width}}));
    TESSERA_ASSIGN_OR_RETURN(
        layer.qkv,
        ReadMatrix({{name("q_proj"), q}, {name("k_proj"), kv}, {name("v_proj"), kv}}, width));
    TESSERA_ASSIGN_OR_RETURN(layer.o, ReadMatrix({{name("attn_out"), width}}, q));
    TESSERA_ASSIGN_OR_RETURN(layer.ffn, ReadFeedForward(name("ff_proj"), name("up_proj"),
                                                        name("ff_out"), config.ffn_width));
    return joint;
  }

  Result<FeedForward> ReadFeedForward(const std::string& gate, const std::string& up,
                                      const std::string& down, int64_t ffn_width) {
    const int64_t width = model_.config_.width;
    FeedForward ffn;
    TESSERA_ASSIGN_OR_RETURN(ffn.gate_up, ReadMatrix({{gate, ffn_width}, {up, ffn_width}}, width,
                                                     options_.format, /*paired=*/true));
    TESSERA_ASSIGN_OR_RETURN(ffn.down, ReadMatrix({{down, width}}, ffn_width));
    return ffn;
  }

  Result<std::unique_ptr<Mixture>> ReadMixture(int64_t index) {
    const DecoderConfig& config = model_.config_;
    const TensorNames& names = config.names;
    auto mixture = std::make_unique<Mixture>();
    mixture->spec = config.mixture.router;
    // Always f32, as published: rounding would flip choices, and a router is small.
    TESSERA_ASSIGN_OR_RETURN(
        mixture->router,
        ReadMatrix({{LayerName(names.router, index), config.mixture.experts}}, config.width,
                   ops::WeightFormat{.type = ops::WeightType::kF32}));
    if (!names.router_bias.empty()) {
      TESSERA_ASSIGN_OR_RETURN(
          mixture->router_bias,
          ReadVector({{LayerName(names.router_bias, index), config.mixture.experts}}));
    }
    for (int64_t e = 0; e < config.mixture.experts; ++e) {
      TESSERA_ASSIGN_OR_RETURN(
          FeedForward expert,
          ReadFeedForward(LayerName(names.expert_gate, index, e),
                          LayerName(names.expert_up, index, e),
                          LayerName(names.expert_down, index, e), config.mixture.expert_width));
      // A forward reads the experts that its rows choose.
      model_.weight_bytes_ -= expert.bytes();
      model_.expert_bytes_ += expert.bytes();
      mixture->experts.push_back(std::move(expert));
    }
    return mixture;
  }

  // Divides the frequencies by the checkpoint's factors where it has some.
  Status ReadRopeFactors(std::vector<float>* frequencies) {
    const std::string& name = model_.config_.names.rope_factors;
    if (name.empty()) return OkStatus();
    const int64_t count = static_cast<int64_t>(frequencies->size());
    TESSERA_ASSIGN_OR_RETURN(const TensorView tensor, Read(name, {count}));
    for (int64_t i = 0; i < count; ++i) {
      const float factor = FloatAt(tensor, i);
      if (!(factor > 0)) {
        return DataLoss("{}: tensor '{}' element {} is {}; accepted: above 0", source_.origin(),
                        name, i, factor);
      }
      (*frequencies)[static_cast<size_t>(i)] /= factor;
    }
    return OkStatus();
  }

  // A tensor we do not know means that the network is not what its config says.
  Status RefuseSurplus() const {
    std::set<std::string> known(model_.config_.names.ignored.begin(),
                                model_.config_.names.ignored.end());
    for (const TensorSpec& tensor : ListTensors(model_.config_)) known.insert(tensor.name);
    for (const std::string& name : source_.names()) {
      if (known.count(name) > 0 || name.ends_with("rotary_emb.inv_freq")) continue;
      if (model_.config_.tied_head && name == model_.config_.names.head) continue;
      return InvalidArgument(
          "{}: unexpected tensor '{}': architecture {} has no such tensor with this config.json",
          source_.origin(), name, model_.config_.architecture);
    }
    return OkStatus();
  }

 private:
  Status Count(int64_t bytes) {
    read_ += bytes;
    if (options_.progress && !options_.progress(read_, total_)) {
      return Cancelled("{}: loading was cancelled", source_.origin());
    }
    return OkStatus();
  }

  const TensorSource& source_;
  Decoder& model_;
  const LoadOptions& options_;
  int64_t total_, read_ = 0;
};

Result<std::unique_ptr<Decoder>> Decoder::Load(const DecoderConfig& config,
                                               const TensorSource& tensors, ops::Device& device,
                                               const LoadOptions& options) {
  std::unique_ptr<Decoder> model(new Decoder(config, device));
  TESSERA_ASSIGN_OR_RETURN(const TensorInfo embedding, tensors.Describe(config.names.embedding));
  const bool wide = embedding.type == Name(DType::kF32) || embedding.type == Name(DType::kF16);
  model->format_ = options.format.value_or(
      ops::WeightFormat{.type = wide ? ops::WeightType::kF32 : ops::WeightType::kBF16,
                        .group = 0,
                        .symmetric = true});
  Loader loader(tensors, *model, options);
  TESSERA_RETURN_IF_ERROR(loader.RefuseSurplus());
  TESSERA_ASSIGN_OR_RETURN(model->embedding_, loader.ReadVocabulary(config.names.embedding));
  if (!config.tied_head) {
    // A forward reads a few rows of the embedding, but the whole head.
    model->weight_bytes_ -= model->embedding_->bytes();
    TESSERA_ASSIGN_OR_RETURN(model->head_, loader.ReadVocabulary(config.names.head));
  }
  for (int64_t i = 0; i < config.layers; ++i) {
    TESSERA_ASSIGN_OR_RETURN(Layer layer, loader.ReadLayer(i));
    model->layers_.push_back(std::move(layer));
  }
  model->format_ = model->layers_.front().o->format();
  const bool float_layers = model->format_.type == ops::WeightType::kF32;
  model->kv_type_ = options.kv_type.value_or(float_layers ? ops::KvType::kF32 : ops::KvType::kBF16);
  TESSERA_ASSIGN_OR_RETURN(model->final_norm_,
                           loader.ReadVector({{config.names.final_norm, config.width}}));
  model->frequencies_ = RotaryFrequencies(config);
  TESSERA_RETURN_IF_ERROR(loader.ReadRopeFactors(&model->frequencies_));
  const bool dense = std::none_of(model->layers_.begin(), model->layers_.end(),
                                  [](const Layer& layer) { return layer.mixture != nullptr; });
  if (dense) {
    TESSERA_ASSIGN_OR_RETURN(model->compiled_, device.CompileDecoder(model->NetworkShape()));
  }
  return model;
}

Status Decoder::LoadJointLayer(const TensorSource& tensors) {
  if (config_.mixture.experts > 0) {
    return Unimplemented("{}: a joint layer for a mixture of experts; accepted: dense models",
                         tensors.origin());
  }
  constexpr size_t kTensors = 11;
  if (tensors.names().size() != kTensors) {
    return InvalidArgument("{}: {} tensors; a joint layer has {}", tensors.origin(),
                           tensors.names().size(), kTensors);
  }
  const bool plain =
      format_.type == ops::WeightType::kF32 || format_.type == ops::WeightType::kBF16;
  const LoadOptions options{
      .format = plain ? format_ : ops::WeightFormat{.type = ops::WeightType::kBF16},
      .progress = {}};
  const int64_t before = weight_bytes_;
  Loader loader(tensors, *this, options);
  TESSERA_ASSIGN_OR_RETURN(joint_, loader.ReadJointLayer());
  joint_->bytes = weight_bytes_ - before;
  weight_bytes_ = before;
  config_.traits.joint_layer = true;
  return OkStatus();
}

ops::DecoderShape Decoder::NetworkShape() const {
  ops::DecoderShape shape;
  for (const Layer& layer : layers_) {
    shape.layers.push_back({.qkv = layer.qkv.get(),
                            .o = layer.o.get(),
                            .gate_up = layer.ffn.gate_up.get(),
                            .down = layer.ffn.down.get(),
                            .attention_norm = Floats(layer.attention_norm),
                            .ffn_norm = Floats(layer.ffn_norm),
                            .qkv_bias = Floats(layer.qkv_bias),
                            .q_norm = Floats(layer.q_norm),
                            .k_norm = Floats(layer.k_norm)});
  }
  shape.embedding = embedding_.get();
  shape.head = &head();
  shape.final_norm = Floats(final_norm_);
  shape.width = config_.width;
  shape.heads = static_cast<int32_t>(config_.heads);
  shape.kv_heads = static_cast<int32_t>(config_.kv_heads);
  shape.head_dim = static_cast<int32_t>(config_.head_dim);
  shape.frequencies = frequencies_;
  shape.norm_eps = static_cast<float>(config_.norm_eps);
  return shape;
}

Result<std::unique_ptr<kv::KvCache>> Decoder::MakeKvCache(int32_t num_pages) {
  const ops::KvFormat format{.type = kv_type_,
                             .kv_heads = static_cast<int32_t>(config_.kv_heads),
                             .head_dim = static_cast<int32_t>(config_.head_dim)};
  if (joint_ != nullptr) {
    const int64_t rows = int64_t{num_pages} * ops::kPageRows;
    TESSERA_ASSIGN_OR_RETURN(
        joint_->kept, device_.Allocate(static_cast<size_t>(rows * config_.width) * sizeof(float)));
  }
  const int64_t layers = config_.layers + (joint_ == nullptr ? 0 : 1);
  return kv::KvCache::Create(device_, format, static_cast<int32_t>(layers), num_pages);
}

Status Decoder::ReserveWorkspace(int64_t rows) {
  if (rows <= workspace_.rows) return OkStatus();
  const int64_t ffn_rows = std::min(rows, kFfnRows);
  const auto reserve = [&](Vector& buffer, int64_t num_rows, int64_t width) -> Status {
    TESSERA_ASSIGN_OR_RETURN(
        buffer, device_.Allocate(static_cast<size_t>(num_rows * width) * sizeof(float)));
    return OkStatus();
  };
  workspace_.rows = 0;
  const int64_t q = config_.heads * config_.head_dim, kv = config_.kv_heads * config_.head_dim;
  int64_t ffn_width = 0;
  for (const Layer& layer : layers_) {
    if (layer.ffn.down != nullptr) ffn_width = std::max(ffn_width, layer.ffn.width());
  }
  TESSERA_RETURN_IF_ERROR(reserve(workspace_.hidden, rows, config_.width));
  TESSERA_RETURN_IF_ERROR(reserve(workspace_.normed, rows, config_.width));
  TESSERA_RETURN_IF_ERROR(reserve(workspace_.qkv, rows, q + 2 * kv));
  TESSERA_RETURN_IF_ERROR(reserve(workspace_.attention, rows, q));
  TESSERA_RETURN_IF_ERROR(reserve(workspace_.gate_up, ffn_rows, 2 * ffn_width));
  TESSERA_RETURN_IF_ERROR(reserve(workspace_.ffn, ffn_rows, ffn_width));
  TESSERA_RETURN_IF_ERROR(reserve(workspace_.cos_sin, rows, config_.rotated()));
  if (joint_ != nullptr) TESSERA_RETURN_IF_ERROR(reserve(joint_->embedded, rows, config_.width));
  workspace_.rows = rows;
  return OkStatus();
}

// Cosines and sines are computed once per position and copied per row.
Status Decoder::FillRotary(std::span<const int32_t> positions) {
  const size_t width = static_cast<size_t>(config_.rotated());
  const int32_t largest = *std::max_element(positions.begin(), positions.end());
  ops::ExtendRotaryTable(frequencies_, int64_t{largest} + 1, &rotary_table_);
  rotary_rows_.resize(positions.size() * width);
  float* out = rotary_rows_.data();
  for (const int32_t position : positions) {
    std::memcpy(out, &rotary_table_[static_cast<size_t>(position) * width], width * sizeof(float));
    out += width;
  }
  return device_.Write(Floats(workspace_.cos_sin), rotary_rows_.data(),
                       rotary_rows_.size() * sizeof(float));
}

Status Decoder::RunLinear(LinearSite site, const ops::LinearArgs& args) {
  if (observer_ != nullptr) {
    TESSERA_RETURN_IF_ERROR((*observer_)(site, args.rows, args.weight->in(), args.x));
  }
  return device_.Linear(args);
}

Status Decoder::RunAttention(const Layer& layer, const ForwardInput& input,
                             const ops::KvLayer& kv) {
  const int64_t rows = static_cast<int64_t>(input.tokens.size());
  const float eps = static_cast<float>(config_.norm_eps);
  TESSERA_RETURN_IF_ERROR(device_.RmsNorm({.rows = rows,
                                           .width = config_.width,
                                           .x = Floats(workspace_.hidden),
                                           .weight = Floats(layer.attention_norm),
                                           .eps = eps,
                                           .out = Floats(workspace_.normed)}));
  TESSERA_RETURN_IF_ERROR(RunLinear(LinearSite::kQkv, {.rows = rows,
                                                       .x = Floats(workspace_.normed),
                                                       .weight = layer.qkv.get(),
                                                       .bias = Floats(layer.qkv_bias),
                                                       .y = Floats(workspace_.qkv)}));
  TESSERA_RETURN_IF_ERROR(
      device_.RotateAndStore({.rows = rows,
                              .qkv = Floats(workspace_.qkv),
                              .heads = static_cast<int32_t>(config_.heads),
                              .q_norm = Floats(layer.q_norm),
                              .k_norm = Floats(layer.k_norm),
                              .norm_eps = eps,
                              .rotary_dim = static_cast<int32_t>(config_.rotated()),
                              .cos_sin = Floats(workspace_.cos_sin),
                              .slots = input.slots,
                              .groups = input.groups,
                              .kv = kv}));
  TESSERA_RETURN_IF_ERROR(device_.Attention(
      {.qkv = Floats(workspace_.qkv),
       .heads = static_cast<int32_t>(config_.heads),
       .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim))),
       .slots = input.slots,
       .groups = input.groups,
       .kv = kv,
       .out = Floats(workspace_.attention)}));
  return RunLinear(LinearSite::kO, {.rows = rows,
                                    .x = Floats(workspace_.attention),
                                    .weight = layer.o.get(),
                                    .bias = nullptr,
                                    .y = Floats(workspace_.hidden),
                                    .accumulate = true});
}

Status Decoder::RunFfn(const Layer& layer, int64_t rows) {
  TESSERA_RETURN_IF_ERROR(device_.RmsNorm({.rows = rows,
                                           .width = config_.width,
                                           .x = Floats(workspace_.hidden),
                                           .weight = Floats(layer.ffn_norm),
                                           .eps = static_cast<float>(config_.norm_eps),
                                           .out = Floats(workspace_.normed)}));
  if (layer.mixture != nullptr) {
    TESSERA_RETURN_IF_ERROR(mixture_runner_.Run(*layer.mixture, rows, Floats(workspace_.normed),
                                                Floats(workspace_.hidden)));
    if (layer.ffn.down == nullptr) return OkStatus();
  }
  for (int64_t begin = 0; begin < rows; begin += kFfnRows) {
    const int64_t count = std::min(kFfnRows, rows - begin);
    const int64_t offset = begin * config_.width;
    TESSERA_RETURN_IF_ERROR(RunLinear(LinearSite::kGateUp, {.rows = count,
                                                            .x = Floats(workspace_.normed) + offset,
                                                            .weight = layer.ffn.gate_up.get(),
                                                            .bias = nullptr,
                                                            .y = Floats(workspace_.gate_up)}));
    TESSERA_RETURN_IF_ERROR(device_.SiluMul({.rows = count,
                                             .width = layer.ffn.width(),
                                             .gate_up = Floats(workspace_.gate_up),
                                             .out = Floats(workspace_.ffn)}));
    TESSERA_RETURN_IF_ERROR(RunLinear(LinearSite::kDown, {.rows = count,
                                                          .x = Floats(workspace_.ffn),
                                                          .weight = layer.ffn.down.get(),
                                                          .bias = nullptr,
                                                          .y = Floats(workspace_.hidden) + offset,
                                                          .accumulate = true}));
  }
  return OkStatus();
}

Status Decoder::RunLayers(const ForwardInput& input, const kv::KvCache& kv) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    TESSERA_RETURN_IF_ERROR(RunAttention(layers_[i], input, kv.layer(static_cast<int32_t>(i))));
    TESSERA_RETURN_IF_ERROR(RunFfn(layers_[i], static_cast<int64_t>(input.tokens.size())));
  }
  expert_bytes_read_ = mixture_runner_.TakeBytesRead();
  return OkStatus();
}

Status Decoder::ForwardLayers(const ForwardInput& input, const kv::KvCache& kv,
                              const LinearObserver& observer, std::span<float> hidden) {
  if (input.tokens.empty()) return OkStatus();
  TESSERA_RETURN_IF_ERROR(ReserveWorkspace(static_cast<int64_t>(input.tokens.size())));
  TESSERA_RETURN_IF_ERROR(FillRotary(input.positions));
  TESSERA_RETURN_IF_ERROR(
      device_.Write(Floats(workspace_.hidden), hidden.data(), hidden.size_bytes()));
  observer_ = observer ? &observer : nullptr;
  const Status status = RunLayers(input, kv);
  observer_ = nullptr;
  TESSERA_RETURN_IF_ERROR(status);
  return device_.Read(hidden.data(), Floats(workspace_.hidden), hidden.size_bytes());
}

Status Decoder::ForwardHidden(const ForwardInput& input, const kv::KvCache& kv) {
  const int64_t rows = static_cast<int64_t>(input.tokens.size());
  TESSERA_RETURN_IF_ERROR(ReserveWorkspace(rows));
  TESSERA_RETURN_IF_ERROR(FillRotary(input.positions));
  TESSERA_RETURN_IF_ERROR(device_.Embed(
      {.table = embedding_.get(), .tokens = input.tokens, .out = Floats(workspace_.hidden)}));
  TESSERA_RETURN_IF_ERROR(RunLayers(input, kv));
  if (input.keep_hidden) TESSERA_RETURN_IF_ERROR(KeepHidden(input));
  // The attention buffer may be narrower than the hidden state, so the FFN's norm buffer takes the
  // gathered rows and the norm runs in place.
  TESSERA_RETURN_IF_ERROR(device_.GatherRows({.rows = input.out_rows,
                                              .width = config_.width,
                                              .x = Floats(workspace_.hidden),
                                              .out = Floats(workspace_.normed)}));
  return device_.RmsNorm({.rows = static_cast<int64_t>(input.out_rows.size()),
                          .width = config_.width,
                          .x = Floats(workspace_.normed),
                          .weight = Floats(final_norm_),
                          .eps = static_cast<float>(config_.norm_eps),
                          .out = Floats(workspace_.normed)});
}

Status Decoder::Forward(const ForwardInput& input, const kv::KvCache& kv,
                        std::span<const ops::RowRequest> requests, std::span<ops::RowStats> stats) {
  if (input.tokens.empty()) return OkStatus();
  joint_ran_ = input.joint;
  if (compiled_ != nullptr && !input.keep_hidden && !input.joint) {
    std::vector<ops::KvLayer> layers;
    for (int32_t i = 0; i < config_.layers; ++i) layers.push_back(kv.layer(i));
    return compiled_->Run({.tokens = input.tokens,
                           .positions = input.positions,
                           .slots = input.slots,
                           .groups = input.groups,
                           .out_rows = input.out_rows,
                           .kv = layers,
                           .requests = requests,
                           .stats = stats});
  }
  TESSERA_RETURN_IF_ERROR(input.joint ? ForwardJoint(input, kv) : ForwardHidden(input, kv));
  return device_.HeadStats({.rows = static_cast<int64_t>(input.out_rows.size()),
                            .hidden = Floats(workspace_.normed),
                            .head = &head(),
                            .requests = requests,
                            .stats = stats});
}

Status Decoder::ForwardLogits(const ForwardInput& input, const kv::KvCache& kv,
                              std::vector<float>* logits) {
  logits->resize(input.out_rows.size() * static_cast<size_t>(config_.vocab));
  if (input.tokens.empty()) return OkStatus();
  TESSERA_RETURN_IF_ERROR(ForwardHidden(input, kv));
  return device_.HeadLogits({.rows = static_cast<int64_t>(input.out_rows.size()),
                             .hidden = Floats(workspace_.normed),
                             .head = &head(),
                             .logits = logits->data()});
}

}  // namespace tessera::models
