// A dense transformer decoder as data: what an architecture file derives from config.json and what
// the shared implementation in decoder.h needs. All supported architectures are this network with
// different switches and tensor names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

// Tensor names; "{}" stands for the layer. An empty name means that the tensor does not exist.
struct TensorNames {
  std::string embedding, final_norm, head;
  std::string attention_norm, q, k, v, o, q_norm, k_norm;
  std::string ffn_norm, gate, up, down;
  std::string q_bias, k_bias, v_bias;
  std::vector<std::string> ignored;  // may be present and are not read
};

struct DecoderConfig {
  std::string architecture;  // name of the registry entry
  int64_t vocab = 0;         // rows of the embedding and of the head
  int64_t width = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t ffn_width = 0;
  double norm_eps = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tied_head = false;
  TensorNames names;
  ops::ModelTraits traits;

  int64_t parameters() const;
};

// Rotary frequencies [head_dim / 2] after scaling.
std::vector<float> RotaryFrequencies(const DecoderConfig& config);

struct TensorSpec {
  std::string name;
  Shape shape;
};

// Every tensor of a checkpoint of this network, in file order.
std::vector<TensorSpec> ListTensors(const DecoderConfig& config);

// `pattern` with "{}" replaced by the layer.
std::string LayerName(const std::string& pattern, int64_t layer);

}  // namespace tessera::models
