#include "tessera/formats/gguf_config.h"

#include <algorithm>

#include "tessera/formats/quote.h"

namespace tessera {
namespace {

using nlohmann::json;

// How the public converter writes an architecture.
struct Known {
  std::string_view name;        // general.architecture
  std::string_view class_name;  // in config.json
  bool causal;
  bool rotated;  // rows of Q and K reordered
};

constexpr Known kKnown[] = {{"llama", "LlamaForCausalLM", true, true},
                            {"qwen2", "Qwen2ForCausalLM", true, false},
                            {"qwen3", "Qwen3ForCausalLM", true, false},
                            {"llada", "LLaDAModelLM", false, true},
                            {"dream", "DreamModel", false, false}};

constexpr IntRange kHeadRange{.min = 1, .max = 1 << 14};

const Known* FindKnown(std::string_view name) {
  const auto* found = std::find_if(std::begin(kKnown), std::end(kKnown),
                                   [&](const Known& known) { return known.name == name; });
  return found == std::end(kKnown) ? nullptr : found;
}

// Keys "<architecture>.<field>" of one file.
class Fields {
 public:
  Fields(const GgufMetadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}

  std::string Key(std::string_view field) const { return prefix_ + std::string(field); }
  bool Has(std::string_view field) const { return metadata_.Has(Key(field)); }
  Result<int64_t> Int(std::string_view field, IntRange range = {.min = 1, .max = 1 << 26}) const {
    return metadata_.GetInt(Key(field), range);
  }
  Result<int64_t> IntOr(std::string_view field, int64_t otherwise) const {
    return metadata_.GetIntOr(Key(field), otherwise, {.min = 0, .max = 1 << 26});
  }
  Result<double> FloatOr(std::string_view field, double otherwise) const {
    return metadata_.GetFloatOr(Key(field), otherwise, {.min = 0, .max = 1e12});
  }
  Status Refuse(std::string_view field, std::string_view got, std::string_view accepted) const {
    return Unimplemented("{}: key {} is {}; accepted: {}", metadata_.name(), Quoted(Key(field)),
                         got, accepted);
  }

 private:
  const GgufMetadata& metadata_;
  std::string prefix_;
};

Status RefuseOtherNetworks(const GgufMetadata& metadata, const Fields& fields, const Known& known,
                           int64_t head_dim) {
  for (const char* field : {"expert_count", "expert_used_count"}) {
    TESSERA_ASSIGN_OR_RETURN(const int64_t experts, fields.IntOr(field, 0));
    if (experts > 0) return fields.Refuse(field, fmt::to_string(experts), "0, or absent");
  }
  if (fields.Has("attention.sliding_window")) {
    TESSERA_ASSIGN_OR_RETURN(const int64_t window, fields.IntOr("attention.sliding_window", 0));
    if (window > 0) {
      return fields.Refuse("attention.sliding_window", fmt::to_string(window), "0, or absent");
    }
  }
  TESSERA_ASSIGN_OR_RETURN(const bool causal,
                           metadata.GetBoolOr(fields.Key("attention.causal"), known.causal));
  if (causal != known.causal) {
    return fields.Refuse("attention.causal", causal ? "true" : "false",
                         known.causal ? "true" : "false");
  }
  for (const char* field : {"attention.value_length", "rope.dimension_count"}) {
    TESSERA_ASSIGN_OR_RETURN(const int64_t width, fields.IntOr(field, head_dim));
    if (width != head_dim) {
      return fields.Refuse(field, fmt::to_string(width),
                           fmt::format("the head size, {}", head_dim));
    }
  }
  return OkStatus();
}

// Null, or rope_scaling as config.json has it. Llama 3.1's is not here but a tensor.
Result<json> RopeScaling(const GgufMetadata& metadata, const Fields& fields) {
  TESSERA_ASSIGN_OR_RETURN(const std::string_view type,
                           metadata.GetStringOr(fields.Key("rope.scaling.type"), "none"));
  if (type == "none") return json();
  if (type != "linear") {
    return fields.Refuse("rope.scaling.type", Quoted(type), "none, linear");
  }
  TESSERA_ASSIGN_OR_RETURN(const double factor, fields.FloatOr("rope.scaling.factor", 1));
  return json{{"rope_type", "linear"}, {"factor", factor}};
}

Result<json> StopIds(const GgufMetadata& metadata, int64_t vocab) {
  json ids = json::array();
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    TESSERA_ASSIGN_OR_RETURN(const int64_t id,
                             metadata.GetIntOr(key, -1, {.min = 0, .max = vocab - 1}));
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  return ids;
}

// LLaDA's config.json has fields of its own.
json LladaConfig(const json& c) {
  return {{"architectures", c["architectures"]},
          {"d_model", c["hidden_size"]},
          {"n_layers", c["num_hidden_layers"]},
          {"n_heads", c["num_attention_heads"]},
          {"n_kv_heads", c["num_key_value_heads"]},
          {"mlp_hidden_size", c["intermediate_size"]},
          {"vocab_size", c["vocab_size"]},
          {"max_sequence_length", c["max_position_embeddings"]},
          {"rms_norm_eps", c["rms_norm_eps"]},
          {"rope_theta", c["rope_theta"]},
          {"weight_tying", c["tie_word_embeddings"]},
          {"eos_token_id", c["eos_token_id"]},
          {"mask_token_id", c["mask_token_id"]}};
}

}  // namespace

Result<json> GgufConfig(const GgufMetadata& metadata, const GgufShape& shape) {
  TESSERA_ASSIGN_OR_RETURN(const std::string_view name, metadata.GetString("general.architecture"));
  const Known* known = FindKnown(name);
  if (known == nullptr) {
    std::string names;
    for (const Known& each : kKnown) names += (names.empty() ? "" : ", ") + std::string(each.name);
    return Unimplemented("{}: key 'general.architecture' is {}; accepted: {}", metadata.name(),
                         Quoted(name), names);
  }
  const Fields fields(metadata, name);
  json config = {{"architectures", json::array({known->class_name})},
                 {"vocab_size", shape.vocab},
                 {"tie_word_embeddings", shape.tied_head}};
  TESSERA_ASSIGN_OR_RETURN(const int64_t width, fields.Int("embedding_length"));
  TESSERA_ASSIGN_OR_RETURN(config["num_hidden_layers"], fields.Int("block_count"));
  TESSERA_ASSIGN_OR_RETURN(config["intermediate_size"], fields.Int("feed_forward_length"));
  TESSERA_ASSIGN_OR_RETURN(const int64_t heads, fields.Int("attention.head_count", kHeadRange));
  config["hidden_size"] = width;
  config["num_attention_heads"] = heads;
  config["num_key_value_heads"] = heads;
  if (fields.Has("attention.head_count_kv")) {
    TESSERA_ASSIGN_OR_RETURN(config["num_key_value_heads"],
                             fields.Int("attention.head_count_kv", kHeadRange));
  }
  int64_t head_dim = width / heads;
  if (fields.Has("attention.key_length")) {
    TESSERA_ASSIGN_OR_RETURN(head_dim, fields.Int("attention.key_length"));
  } else if (width % heads != 0) {
    return fields.Refuse("attention.head_count", fmt::to_string(heads),
                         fmt::format("a divisor of {}", width));
  }
  if (known->name == "llada" && head_dim * heads != width) {
    return fields.Refuse("attention.key_length", fmt::to_string(head_dim),
                         fmt::to_string(width / heads));
  }
  config["head_dim"] = head_dim;
  TESSERA_RETURN_IF_ERROR(RefuseOtherNetworks(metadata, fields, *known, head_dim));
  TESSERA_ASSIGN_OR_RETURN(config["max_position_embeddings"], fields.Int("context_length"));
  TESSERA_ASSIGN_OR_RETURN(
      config["rms_norm_eps"],
      metadata.GetFloat(fields.Key("attention.layer_norm_rms_epsilon"), {.min = 0, .max = 1}));
  TESSERA_ASSIGN_OR_RETURN(config["rope_theta"], fields.FloatOr("rope.freq_base", 10000));
  TESSERA_ASSIGN_OR_RETURN(config["rope_scaling"], RopeScaling(metadata, fields));
  TESSERA_ASSIGN_OR_RETURN(config["eos_token_id"], StopIds(metadata, shape.vocab));
  if (known->name == "llada" && !config["rope_scaling"].is_null()) {
    return fields.Refuse("rope.scaling.type", "'linear'", "none");
  }
  config["mask_token_id"] = nullptr;
  if (metadata.Has("tokenizer.ggml.mask_token_id")) {
    TESSERA_ASSIGN_OR_RETURN(
        config["mask_token_id"],
        metadata.GetInt("tokenizer.ggml.mask_token_id", {.min = 0, .max = shape.vocab - 1}));
  } else if (!known->causal) {
    return InvalidArgument("{}: key 'tokenizer.ggml.mask_token_id' is missing", metadata.name());
  }
  return known->name == "llada" ? LladaConfig(config) : config;
}

int64_t RotatedHeads::CountFor(std::string_view tensor) const {
  if (!tensor.starts_with("blk.")) return 0;
  const std::string_view part = tensor.substr(std::min(tensor.find('.', 4), tensor.size()));
  if (part == ".attn_q.weight" || part == ".attn_q.bias") return q;
  if (part == ".attn_k.weight" || part == ".attn_k.bias") return k;
  return 0;
}

Result<RotatedHeads> RotatedHeadsOf(const GgufMetadata& metadata) {
  RotatedHeads heads;
  TESSERA_ASSIGN_OR_RETURN(const std::string_view name,
                           metadata.GetStringOr("general.architecture", ""));
  const Known* known = FindKnown(name);
  const Fields fields(metadata, name);
  if (known == nullptr || !known->rotated || !fields.Has("attention.head_count")) return heads;
  TESSERA_ASSIGN_OR_RETURN(heads.q, fields.Int("attention.head_count", kHeadRange));
  TESSERA_ASSIGN_OR_RETURN(
      heads.k, metadata.GetIntOr(fields.Key("attention.head_count_kv"), heads.q, kHeadRange));
  return heads;
}

}  // namespace tessera
