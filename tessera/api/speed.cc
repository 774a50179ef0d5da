#include "tessera/api/speed.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "tessera/api/internal/networks.h"
#include "tessera/backend/gpu.h"
#include "tessera/backend/machine.h"

namespace tessera::api {
namespace {

using Json = nlohmann::json;

struct Network {
  const char* name;
  const char* layers_field;
  Json config;
};

Json LLaDA(int64_t width, int32_t layers, int32_t heads, int64_t ffn, int64_t vocab) {
  return {{"architectures", {"LLaDAModelLM"}},
          {"d_model", width},
          {"n_layers", layers},
          {"n_heads", heads},
          {"mlp_hidden_size", ffn},
          {"vocab_size", vocab},
          {"max_sequence_length", 4096},
          {"rope_theta", 500000},
          {"rms_norm_eps", 1e-5},
          {"weight_tying", false},
          {"mask_token_id", 7}};
}

// SDAR-8B has Qwen3-8B's layers.
Json Qwen3(const char* class_name) {
  return {{"architectures", {class_name}},
          {"hidden_size", 4096},
          {"num_hidden_layers", 36},
          {"num_attention_heads", 32},
          {"num_key_value_heads", 8},
          {"head_dim", 128},
          {"intermediate_size", 12288},
          {"vocab_size", 151936},
          {"max_position_embeddings", 32768},
          {"rope_theta", 1000000},
          {"rms_norm_eps", 1e-6},
          {"tie_word_embeddings", false}};
}

const std::vector<Network>& Networks() {
  static const std::vector<Network> networks = [] {
    Json sdar = Qwen3("SDARForCausalLM");
    sdar["mask_token_id"] = 151669;
    sdar["block_size"] = 4;
    const Json dream = {{"architectures", {"DreamModel"}},
                        {"hidden_size", 3584},
                        {"num_hidden_layers", 28},
                        {"num_attention_heads", 28},
                        {"num_key_value_heads", 4},
                        {"intermediate_size", 18944},
                        {"vocab_size", 152064},
                        {"max_position_embeddings", 131072},
                        {"rope_theta", 1000000},
                        {"rms_norm_eps", 1e-6},
                        {"tie_word_embeddings", false},
                        {"mask_token_id", 151666}};
    return std::vector<Network>{
        {"llada-8b", "n_layers", LLaDA(4096, 32, 32, 12288, 126464)},
        {"dream-7b", "num_hidden_layers", dream},
        {"sdar-8b", "num_hidden_layers", sdar},
        {"qwen3-8b", "num_hidden_layers", Qwen3("Qwen3ForCausalLM")},
        {"small", "n_layers", LLaDA(256, 2, 4, 768, 1000)},
    };
  }();
  return networks;
}

// What a forward of LLaDA-8B is to take on one H200, and the floor that was measured there: bytes
// over the copy rate, or flop over the rate of a large bf16 product.
struct Target {
  const char* format;
  ForwardShape shape;
  double ms, floor_ms;
};
constexpr Target kTargets[] = {
    {"bf16", {1, 1, 1280}, 4.1, 3.6},  {"bf16", {1, 32, 1280}, 4.2, 3.68},
    {"bf16", {1, 64, 1280}, 4.4, 3.7}, {"bf16", {8, 32, 1280}, 7, 4.9},
    {"bf16", {32, 32, 1280}, 26, 20},  {"bf16", {1, 1280, 0}, 30, 24.3},
    {"fp8", {1, 32, 1280}, 2.5, 1.95}, {"int4", {1, 32, 1280}, 1.8, 1.15},
};

std::string NetworkNames() {
  std::string names;
  for (const Network& network : Networks()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", network.name);
  }
  return names;
}

// Takes the number in front of `end` off the text; false unless there is one.
bool TakeNumber(std::string_view* text, char end, int32_t* value) {
  const auto parsed = std::from_chars(text->data(), text->data() + text->size(), *value);
  if (parsed.ec != std::errc()) return false;
  text->remove_prefix(static_cast<size_t>(parsed.ptr - text->data()));
  if (end == '\0') return text->empty();
  if (!text->starts_with(end)) return false;
  text->remove_prefix(1);
  return true;
}

}  // namespace

Result<Json> SyntheticConfig(const std::string& network, int32_t layers) {
  for (const Network& known : Networks()) {
    if (network != known.name) continue;
    Json config = known.config;
    if (layers > 0) config[known.layers_field] = layers;
    return config;
  }
  return InvalidArgument("network: got '{}', accepted: {}", network, NetworkNames());
}

std::vector<std::string> ListNetworks() {
  std::vector<std::string> names;
  for (const Network& network : Networks()) names.emplace_back(network.name);
  return names;
}

Result<std::string> NetworkConfig(const std::string& network, int32_t layers) {
  TESSERA_ASSIGN_OR_RETURN(const Json config, SyntheticConfig(network, layers));
  return config.dump();
}

std::string SpeedCase::Name() const {
  return fmt::format("{}:{}:{}x{}x{}", network, format, shape.sequences, shape.rows, shape.keys);
}

std::vector<SpeedCase> ListSpeedCases() {
  std::vector<SpeedCase> cases;
  for (const char* network : {"llada-8b", "dream-7b", "sdar-8b", "qwen3-8b"}) {
    const bool measured = std::string_view(network) == "llada-8b";
    for (const Target& target : kTargets) {
      cases.push_back({.network = network,
                       .format = target.format,
                       .shape = target.shape,
                       .target_ms = measured ? target.ms : 0,
                       .target_ratio = target.ms / target.floor_ms});
    }
  }
  return cases;
}

Result<SpeedCase> ParseSpeedCase(const std::string& name) {
  for (const SpeedCase& listed : ListSpeedCases()) {
    if (listed.Name() == name) return listed;
  }
  SpeedCase parsed;
  const size_t first = name.find(':'), last = name.rfind(':');
  if (first != last) {
    parsed.network = name.substr(0, first);
    parsed.format = name.substr(first + 1, last - first - 1);
    std::string_view shape = std::string_view(name).substr(last + 1);
    ForwardShape& to = parsed.shape;
    if (TakeNumber(&shape, 'x', &to.sequences) && TakeNumber(&shape, 'x', &to.rows) &&
        TakeNumber(&shape, '\0', &to.keys)) {
      TESSERA_RETURN_IF_ERROR(SyntheticConfig(parsed.network, 0).status());
      return parsed;
    }
  }
  return InvalidArgument(
      "case: got '{}', accepted: NETWORK:FORMAT:SEQUENCESxROWSxKEYS, for example "
      "llada-8b:bf16:8x32x1280; networks: {}",
      name, NetworkNames());
}

Result<double> MeasureReadBandwidth(const std::string& device, bool small) {
  if (device == "cpu") return backend::BandwidthProbe(0, small).Measure();
  if (device == "cuda" || device.starts_with("cuda:")) {
    return backend::MeasureGpuReadBandwidth(device);
  }
  return InvalidArgument("device: got '{}', accepted for its read bandwidth: cpu, cuda:N", device);
}

}  // namespace tessera::api
