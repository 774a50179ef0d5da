// A transformer decoder as data: what an architecture file derives from config.json and what the
// shared implementation in decoder.h needs. All supported architectures are this network with
// different switches and tensor names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tessera/ops/device.h"
#include "tessera/ops/model_traits.h"
#include "tessera/tensor/tensor.h"

namespace tessera::models {

// Llama 3.1's frequency-dependent rotary scaling; factor 1 = off.
struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3 } kind = Kind::kNone;
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  double original_max_positions = 0;
};

// Tensor names; "{}" stands for the layer, in names of experts a second one for the expert. An
// empty name means that the tensor does not exist.
struct TensorNames {
  std::string embedding, final_norm, head;
  std::string attention_norm, q, k, v, o, q_norm, k_norm;
  std::string qkv, qkv_bias;  // Q | K | V stored as one tensor, instead of q, k and v
  std::string ffn_norm, gate, up, down;
  std::string q_bias, k_bias, v_bias;
  std::string router, router_bias;  // layers with a mixture of experts have these instead of gate..
  std::string expert_gate, expert_up, expert_down;
  std::string shared_gate, shared_up, shared_down;
  std::string rope_factors;  // f32 [head_dim / 2]: each rotary frequency is divided by its own
  std::vector<std::string> ignored;  // may be present and are not read
};

// The feed-forward of some layers as a mixture of experts: every row passes top_k of them and the
// shared one, if there is one; the outputs are added, the former by the router's weights.
struct MixtureConfig {
  int64_t experts = 0;  // 0: every layer is dense
  int64_t expert_width = 0;
  int64_t shared_width = 0;  // 0: no shared expert
  ops::RouterSpec router;
  std::vector<bool> layers;  // [layers]: which of them have a mixture
};

struct DecoderConfig {
  std::string architecture;  // name of the registry entry
  int64_t vocab = 0;         // rows of the embedding and of the head
  int64_t width = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;  // of each head, the first ones; 0: all
  int64_t ffn_width = 0;   // of the dense layers
  MixtureConfig mixture;
  double norm_eps = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tied_head = false;
  TensorNames names;
  ops::ModelTraits traits;

  int64_t parameters() const;
  // Those that the forward of one row reads: top_k experts, and of an untied embedding nothing.
  int64_t active_parameters() const;
  bool IsMixture(int64_t layer) const {
    return mixture.experts > 0 && mixture.layers[static_cast<size_t>(layer)];
  }
  int64_t rotated() const { return rotary_dim == 0 ? head_dim : rotary_dim; }
};

// Rotary frequencies [rotated() / 2] after scaling.
std::vector<float> RotaryFrequencies(const DecoderConfig& config);

struct TensorSpec {
  std::string name;
  Shape shape;
};

// Every tensor of a checkpoint of this network, in file order.
std::vector<TensorSpec> ListTensors(const DecoderConfig& config);

// `pattern` with "{}" replaced by the layer, and a second one by the expert.
std::string LayerName(const std::string& pattern, int64_t layer, int64_t expert = 0);

}  // namespace tessera::models
