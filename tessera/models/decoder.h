// The transformer decoder that all supported architectures share: RMSNorm, rotary grouped
// attention, SwiGLU, dense or as a mixture of experts. Architecture files only describe it
// (DecoderConfig).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tessera/formats/tensor_source.h"
#include "tessera/models/decoder_config.h"
#include "tessera/models/mixture.h"
#include "tessera/models/model.h"

namespace tessera::models {

struct LoadOptions {
  // Format of the matrices. Unset: integers as they are stored, else f32 for F32 and F16
  // checkpoints, bf16 for BF16 ones. An integer format is for the layers; embedding and head
  // then are int8.
  std::optional<ops::WeightFormat> format;
  std::optional<ops::KvType> kv_type;  // unset: f32 beside f32 matrices, otherwise bf16
  // Called with (bytes read, bytes in all); returning false cancels.
  std::function<bool(int64_t, int64_t)> progress;
};

// The products of a layer: their inputs differ, so each has one of its own.
enum class LinearSite : uint8_t { kQkv, kO, kGateUp, kDown };

// Sees the input of every linear of Decoder::ForwardLayers: [rows, width] in device memory that
// lives during the call.
using LinearObserver =
    std::function<Status(LinearSite site, int64_t rows, int64_t width, const float* x)>;

class Decoder : public Model {
 public:
  // Reads and checks every tensor: missing, surplus, misshapen and non-finite ones are refused by
  // name. `tensors` is not needed afterwards.
  static Result<std::unique_ptr<Decoder>> Load(const DecoderConfig& config,
                                               const TensorSource& tensors, ops::Device& device,
                                               const LoadOptions& options);

  // Adds the layer for joint sampling; once, before MakeKvCache. Tensors: joint.hidden and
  // joint.token [width, width], and one layer of this network under its LLaDA names, without
  // biases and norms of heads; all "joint.NAME.weight".
  Status LoadJointLayer(const TensorSource& tensors);

  const ops::ModelTraits& traits() const override { return config_.traits; }
  const DecoderConfig& config() const { return config_; }
  // Of the layers' matrices; embedding, head and routers may differ.
  const ops::WeightFormat& format() const {
    return layers_.empty() ? format_ : layers_.front().qkv->format();
  }
  ops::KvType kv_type() const { return kv_type_; }  // what MakeKvCache makes
  int64_t weight_bytes() const override { return weight_bytes_ + expert_bytes_; }
  int64_t weight_bytes_read() const override {
    return joint_ran_ ? joint_->bytes + head().bytes() : weight_bytes_ + expert_bytes_read_;
  }
  Result<std::unique_ptr<kv::KvCache>> MakeKvCache(int32_t num_pages) override;

  Status Forward(const ForwardInput& input, const kv::KvCache& kv,
                 std::span<const ops::RowRequest> requests,
                 std::span<ops::RowStats> stats) override;
  Status ForwardLogits(const ForwardInput& input, const kv::KvCache& kv,
                       std::vector<float>* logits) override;
  // The layers alone, for calibration: hidden [rows, width] goes in and comes out.
  Status ForwardLayers(const ForwardInput& input, const kv::KvCache& kv,
                       const LinearObserver& observer, std::span<float> hidden);

 private:
  using Vector = std::unique_ptr<ops::DeviceBuffer>;  // f32
  struct Layer {
    Vector attention_norm, ffn_norm, qkv_bias, q_norm, k_norm;  // the last three may be null
    std::unique_ptr<ops::Matrix> qkv, o;
    std::unique_ptr<Mixture> mixture;  // null: a dense layer
    FeedForward ffn;                   // of a mixture: the shared expert, or null matrices
  };
  // Activations of one forward, grown to the largest one seen.
  struct Workspace {
    int64_t rows = 0;
    Vector hidden, normed, qkv, attention, gate_up, ffn, cos_sin;
  };

  // ADJUST (arXiv 2509.22738). With the final hidden states h of a full forward and the embeddings
  // e of the canvas as it is now: z = A h + B e, one layer on z, the network's own head. The paper
  // does not give the fusion; this is that of training/joint.py.
  struct JointLayer {
    std::unique_ptr<ops::Matrix> hidden, token;  // A, B
    Layer layer;
    int64_t bytes = 0;  // of weights
    Vector embedded;    // [workspace rows, width]
    Vector kept;        // [rows of all pages, width]: h by physical slot
  };

  class Loader;

  Decoder(const DecoderConfig& config, ops::Device& device)
      : config_(config), device_(device), mixture_runner_(device) {}

  // What the device needs to run the network in one go; only of dense layers.
  ops::DecoderShape NetworkShape() const;
  Status ReserveWorkspace(int64_t rows);
  Status FillRotary(std::span<const int32_t> positions);
  // Runs the layers; leaves the normed hidden state of out_rows in workspace_.normed.
  Status ForwardHidden(const ForwardInput& input, const kv::KvCache& kv);
  Status RunAttention(const Layer& layer, const ForwardInput& input, const ops::KvLayer& kv);
  Status RunFfn(const Layer& layer, int64_t rows);
  Status RunLayers(const ForwardInput& input, const kv::KvCache& kv);
  Status KeepHidden(const ForwardInput& input);
  // Leaves the corrected hidden state of out_rows in workspace_.normed.
  Status ForwardJoint(const ForwardInput& input, const kv::KvCache& kv);
  // Shows x [rows, inputs of the weight] to the observer, if there is one, and multiplies.
  Status RunLinear(LinearSite site, const ops::LinearArgs& args);
  const ops::Matrix& head() const { return head_ ? *head_ : *embedding_; }

  DecoderConfig config_;
  ops::Device& device_;
  ops::WeightFormat format_;  // of what the file holds as floats
  ops::KvType kv_type_ = ops::KvType::kF32;
  int64_t weight_bytes_ = 0;                       // read by every forward
  int64_t expert_bytes_ = 0;                       // all routed experts
  int64_t expert_bytes_read_ = 0;                  // by the last forward
  std::unique_ptr<ops::Matrix> embedding_, head_;  // head_ is null when tied
  Vector final_norm_;
  std::vector<Layer> layers_;
  std::vector<float> frequencies_;
  std::vector<float> rotary_table_;  // [positions seen, rotated()]: cos | sin
  std::vector<float> rotary_rows_;   // of the forward's rows, on their way to the device
  Workspace workspace_;
  MixtureRunner mixture_runner_;
  std::unique_ptr<JointLayer> joint_;         // null: none was loaded
  bool joint_ran_ = false;                    // the last forward was a pass of it
  const LinearObserver* observer_ = nullptr;  // during ForwardLayers
  // Null where the device runs the operations one by one. Uses the weights: freed before them.
  std::unique_ptr<ops::CompiledDecoder> compiled_;
};

}  // namespace tessera::models
