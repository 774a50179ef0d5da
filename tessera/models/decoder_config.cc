#include "tessera/models/decoder_config.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace tessera::models {

std::string LayerName(const std::string& pattern, int64_t layer, int64_t expert) {
  return fmt::format(fmt::runtime(pattern), layer, expert);
}

std::vector<TensorSpec> ListTensors(const DecoderConfig& config) {
  const TensorNames& names = config.names;
  const int64_t q_width = config.heads * config.head_dim;
  const int64_t kv_width = config.kv_heads * config.head_dim;
  std::vector<TensorSpec> tensors;
  const auto add = [&](const std::string& name, Shape shape) {
    if (!name.empty()) tensors.push_back({name, std::move(shape)});
  };
  add(names.embedding, {config.vocab, config.width});
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const auto add_layer = [&](const std::string& pattern, Shape shape, int64_t expert = 0) {
      if (!pattern.empty()) add(LayerName(pattern, layer, expert), std::move(shape));
    };
    add_layer(names.attention_norm, {config.width});
    add_layer(names.qkv, {q_width + 2 * kv_width, config.width});
    add_layer(names.qkv_bias, {q_width + 2 * kv_width});
    add_layer(names.q, {q_width, config.width});
    add_layer(names.q_bias, {q_width});
    add_layer(names.k, {kv_width, config.width});
    add_layer(names.k_bias, {kv_width});
    add_layer(names.v, {kv_width, config.width});
    add_layer(names.v_bias, {kv_width});
    add_layer(names.q_norm, {config.head_dim});
    add_layer(names.k_norm, {config.head_dim});
    add_layer(names.o, {config.width, q_width});
    add_layer(names.ffn_norm, {config.width});
    if (!config.IsMixture(layer)) {
      add_layer(names.gate, {config.ffn_width, config.width});
      add_layer(names.up, {config.ffn_width, config.width});
      add_layer(names.down, {config.width, config.ffn_width});
      continue;
    }
    const MixtureConfig& mixture = config.mixture;
    add_layer(names.router, {mixture.experts, config.width});
    add_layer(names.router_bias, {mixture.experts});
    for (int64_t expert = 0; expert < mixture.experts; ++expert) {
      add_layer(names.expert_gate, {mixture.expert_width, config.width}, expert);
      add_layer(names.expert_up, {mixture.expert_width, config.width}, expert);
      add_layer(names.expert_down, {config.width, mixture.expert_width}, expert);
    }
    if (mixture.shared_width == 0) continue;
    add_layer(names.shared_gate, {mixture.shared_width, config.width});
    add_layer(names.shared_up, {mixture.shared_width, config.width});
    add_layer(names.shared_down, {config.width, mixture.shared_width});
  }
  add(names.rope_factors, {config.head_dim / 2});
  add(names.final_norm, {config.width});
  if (!config.tied_head) add(names.head, {config.vocab, config.width});
  return tensors;
}

int64_t DecoderConfig::parameters() const {
  int64_t count = 0;
  for (const TensorSpec& tensor : ListTensors(*this)) {
    if (tensor.name != names.rope_factors) count += NumElements(tensor.shape);
  }
  return count;
}

int64_t DecoderConfig::active_parameters() const {
  int64_t count = parameters();
  if (!tied_head) count -= vocab * width;
  for (int64_t layer = 0; layer < layers; ++layer) {
    if (!IsMixture(layer)) continue;
    count -= (mixture.experts - mixture.router.top_k) * 3 * mixture.expert_width * width;
  }
  return count;
}

std::vector<float> RotaryFrequencies(const DecoderConfig& config) {
  std::vector<float> frequencies;
  const RopeScaling& scaling = config.rope_scaling;
  for (int64_t i = 0; i < config.rotated() / 2; ++i) {
    // fp32 throughout, as the reference implementations compute it.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.rotated());
    float frequency = 1.0f / std::pow(static_cast<float>(config.rope_theta), exponent);
    if (scaling.kind == RopeScaling::Kind::kLinear) {
      frequency /= static_cast<float>(scaling.factor);
    } else if (scaling.kind == RopeScaling::Kind::kLlama3) {
      // Llama 3.1: long wavelengths are divided by factor, short ones kept, the band between
      // interpolated.
      const double wavelength = 2 * std::numbers::pi / frequency;
      const double long_wavelength = scaling.original_max_positions / scaling.low_freq_factor;
      const double short_wavelength = scaling.original_max_positions / scaling.high_freq_factor;
      if (wavelength > long_wavelength) {
        frequency /= static_cast<float>(scaling.factor);
      } else if (wavelength > short_wavelength) {
        const double smooth =
            (scaling.original_max_positions / wavelength - scaling.low_freq_factor) /
            (scaling.high_freq_factor - scaling.low_freq_factor);
        frequency =
            static_cast<float>((1 - smooth) * frequency / scaling.factor + smooth * frequency);
      }
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

}  // namespace tessera::models
