#include "tessera/models/decoder_config.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace tessera::models {

std::string LayerName(const std::string& pattern, int64_t layer) {
  return fmt::format(fmt::runtime(pattern), layer);
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
    const auto add_layer = [&](const std::string& pattern, Shape shape) {
      if (!pattern.empty()) add(LayerName(pattern, layer), std::move(shape));
    };
    add_layer(names.attention_norm, {config.width});
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
    add_layer(names.gate, {config.ffn_width, config.width});
    add_layer(names.up, {config.ffn_width, config.width});
    add_layer(names.down, {config.width, config.ffn_width});
  }
  add(names.final_norm, {config.width});
  if (!config.tied_head) add(names.head, {config.vocab, config.width});
  return tensors;
}

int64_t DecoderConfig::parameters() const {
  int64_t count = 0;
  for (const TensorSpec& tensor : ListTensors(*this)) count += NumElements(tensor.shape);
  return count;
}

std::vector<float> RotaryFrequencies(const DecoderConfig& config) {
  std::vector<float> frequencies;
  const RopeScaling& scaling = config.rope_scaling;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    // fp32 throughout, as the reference implementations compute it.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
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
