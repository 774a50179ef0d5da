#include "tessera/models/hugging_face.h"

namespace tessera::models {
namespace {

constexpr FloatRange kPositive{.min = 1e-12, .max = 1e12};

// `field` must be absent, null, false or one of the two spellings of "not used".
Status RefuseIfTrue(const JsonObject& config, const char* field) {
  TESSERA_ASSIGN_OR_RETURN(const bool value, config.GetBoolOr(field, false));
  if (value) {
    return Unimplemented("{}: field '{}': got true, accepted: false", config.name(), field);
  }
  return OkStatus();
}

Status ReadRopeScaling(const JsonObject& scaling, RopeScaling* rope) {
  TESSERA_ASSIGN_OR_RETURN(std::string type, scaling.GetStringOr("rope_type", ""));
  if (type.empty()) {
    TESSERA_ASSIGN_OR_RETURN(type, scaling.GetStringOr("type", "default"));
  }
  if (type == "default") return OkStatus();
  if (type != "linear" && type != "llama3") {
    return Unimplemented("{}: rotary scaling: got '{}', accepted: default, linear, llama3",
                         scaling.name(), type);
  }
  rope->kind = type == "linear" ? RopeScaling::Kind::kLinear : RopeScaling::Kind::kLlama3;
  TESSERA_ASSIGN_OR_RETURN(rope->factor, scaling.GetFloat("factor", kPositive));
  if (type == "linear") return OkStatus();
  TESSERA_ASSIGN_OR_RETURN(rope->low_freq_factor, scaling.GetFloat("low_freq_factor", kPositive));
  TESSERA_ASSIGN_OR_RETURN(rope->high_freq_factor, scaling.GetFloat("high_freq_factor", kPositive));
  TESSERA_ASSIGN_OR_RETURN(rope->original_max_positions,
                           scaling.GetFloat("original_max_position_embeddings", kPositive));
  if (rope->high_freq_factor <= rope->low_freq_factor) {
    return InvalidArgument("{}: rotary scaling: high_freq_factor must exceed low_freq_factor",
                           scaling.name());
  }
  return OkStatus();
}

// rope_theta and rope_scaling, or the newer rope_parameters object that holds both.
Status ReadRope(const JsonObject& config, DecoderConfig* decoder) {
  if (config.Has("rope_parameters")) {
    TESSERA_ASSIGN_OR_RETURN(const JsonObject parameters, config.GetObject("rope_parameters"));
    TESSERA_ASSIGN_OR_RETURN(decoder->rope_theta,
                             parameters.GetFloatOr("rope_theta", 10000, kPositive));
    return ReadRopeScaling(parameters, &decoder->rope_scaling);
  }
  TESSERA_ASSIGN_OR_RETURN(decoder->rope_theta, config.GetFloatOr("rope_theta", 10000, kPositive));
  if (!config.Has("rope_scaling")) return OkStatus();
  TESSERA_ASSIGN_OR_RETURN(const JsonObject scaling, config.GetObject("rope_scaling"));
  return ReadRopeScaling(scaling, &decoder->rope_scaling);
}

TensorNames HuggingFaceNames(bool bias, bool norm) {
  const std::string layer = "model.layers.{}.";
  TensorNames names;
  names.embedding = "model.embed_tokens.weight";
  names.final_norm = "model.norm.weight";
  names.head = "lm_head.weight";
  names.attention_norm = layer + "input_layernorm.weight";
  names.q = layer + "self_attn.q_proj.weight";
  names.k = layer + "self_attn.k_proj.weight";
  names.v = layer + "self_attn.v_proj.weight";
  names.o = layer + "self_attn.o_proj.weight";
  if (bias) {
    names.q_bias = layer + "self_attn.q_proj.bias";
    names.k_bias = layer + "self_attn.k_proj.bias";
    names.v_bias = layer + "self_attn.v_proj.bias";
  }
  if (norm) {
    names.q_norm = layer + "self_attn.q_norm.weight";
    names.k_norm = layer + "self_attn.k_norm.weight";
  }
  names.ffn_norm = layer + "post_attention_layernorm.weight";
  names.gate = layer + "mlp.gate_proj.weight";
  names.up = layer + "mlp.up_proj.weight";
  names.down = layer + "mlp.down_proj.weight";
  return names;
}

}  // namespace

Status CheckDecoderConfig(const JsonObject& config, const DecoderConfig& decoder) {
  if (decoder.heads % decoder.kv_heads != 0) {
    return InvalidArgument("{}: {} attention heads cannot share {} key/value heads evenly",
                           config.name(), decoder.heads, decoder.kv_heads);
  }
  if (decoder.head_dim % 2 != 0) {
    return InvalidArgument("{}: head size {} is odd; rotary embedding needs an even one",
                           config.name(), decoder.head_dim);
  }
  return OkStatus();
}

Result<ops::TokenId> ReadTokenId(const JsonObject& config, const char* field, int64_t vocab) {
  if (!config.Has(field)) return ops::TokenId{-1};
  TESSERA_ASSIGN_OR_RETURN(const int64_t id, config.GetInt(field, {.min = 0, .max = vocab - 1}));
  return static_cast<ops::TokenId>(id);
}

Status ReadStopIds(const JsonObject& config, DecoderConfig* decoder) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<int64_t> ids,
                           config.GetInts("eos_token_id", {.min = 0, .max = decoder->vocab - 1}));
  for (const int64_t id : ids) decoder->traits.stop_ids.push_back(static_cast<ops::TokenId>(id));
  return OkStatus();
}

Status ReadMixture(const JsonObject& config, const char* width_field, DecoderConfig* decoder) {
  // Bounds the list of tensor names that a hostile config makes us build; LLaDA2.0-flash has 8192.
  constexpr int64_t kMaxExperts = int64_t{1} << 18;
  MixtureConfig& mixture = decoder->mixture;
  TESSERA_ASSIGN_OR_RETURN(mixture.experts, config.GetInt("num_experts", kCountRange));
  if (mixture.experts * decoder->layers > kMaxExperts) {
    return InvalidArgument("{}: {} experts in each of {} layers; accepted: at most {} in all",
                           config.name(), mixture.experts, decoder->layers, kMaxExperts);
  }
  TESSERA_ASSIGN_OR_RETURN(const int64_t top_k, config.GetInt("num_experts_per_tok",
                                                              {.min = 1, .max = mixture.experts}));
  mixture.router.top_k = static_cast<int32_t>(top_k);
  TESSERA_ASSIGN_OR_RETURN(mixture.expert_width, config.GetInt(width_field, kWidthRange));
  mixture.layers.assign(static_cast<size_t>(decoder->layers), true);
  const std::string mlp = "model.layers.{}.mlp.";
  decoder->names.router = mlp + "gate.weight";
  decoder->names.expert_gate = mlp + "experts.{}.gate_proj.weight";
  decoder->names.expert_up = mlp + "experts.{}.up_proj.weight";
  decoder->names.expert_down = mlp + "experts.{}.down_proj.weight";
  return OkStatus();
}

Status ReadQwen3Mixture(const JsonObject& config, DecoderConfig* decoder) {
  TESSERA_RETURN_IF_ERROR(ReadMixture(config, "moe_intermediate_size", decoder));
  TESSERA_ASSIGN_OR_RETURN(decoder->mixture.router.normalise,
                           config.GetBoolOr("norm_topk_prob", false));
  TESSERA_ASSIGN_OR_RETURN(const int64_t step,
                           config.GetIntOr("decoder_sparse_step", 1, kCountRange));
  for (int64_t i = 0; i < decoder->layers; ++i) {
    decoder->mixture.layers[static_cast<size_t>(i)] = (i + 1) % step == 0;
  }
  TESSERA_ASSIGN_OR_RETURN(
      const std::vector<int64_t> dense,
      config.GetInts("mlp_only_layers", {.min = 0, .max = decoder->layers - 1}));
  for (const int64_t layer : dense) decoder->mixture.layers[static_cast<size_t>(layer)] = false;
  return OkStatus();
}

Status ReadPartialRotary(const JsonObject& config, double otherwise, DecoderConfig* decoder) {
  TESSERA_ASSIGN_OR_RETURN(const double factor, config.GetFloatOr("partial_rotary_factor",
                                                                  otherwise, {.min = 0, .max = 1}));
  decoder->rotary_dim = static_cast<int64_t>(factor * static_cast<double>(decoder->head_dim));
  if (decoder->rotary_dim < 2 || decoder->rotary_dim % 2 != 0) {
    return InvalidArgument(
        "{}: field 'partial_rotary_factor': {:g} rotates {} of {} elements of a head; accepted: "
        "what makes an even number of 2 or more",
        config.name(), factor, decoder->rotary_dim, decoder->head_dim);
  }
  return OkStatus();
}

Result<DecoderConfig> ParseHuggingFaceDecoder(const JsonObject& config, QkvBias bias, QkNorm norm,
                                              const char* ffn_field) {
  DecoderConfig decoder;
  TESSERA_ASSIGN_OR_RETURN(decoder.vocab, config.GetInt("vocab_size", kVocabRange));
  TESSERA_ASSIGN_OR_RETURN(decoder.width, config.GetInt("hidden_size", kWidthRange));
  TESSERA_ASSIGN_OR_RETURN(decoder.layers, config.GetInt("num_hidden_layers", kCountRange));
  TESSERA_ASSIGN_OR_RETURN(decoder.heads, config.GetInt("num_attention_heads", kCountRange));
  TESSERA_ASSIGN_OR_RETURN(decoder.kv_heads,
                           config.GetIntOr("num_key_value_heads", decoder.heads, kCountRange));
  if (!config.Has("head_dim") && decoder.width % decoder.heads != 0) {
    return InvalidArgument("{}: hidden_size {} is not a multiple of num_attention_heads {}",
                           config.name(), decoder.width, decoder.heads);
  }
  TESSERA_ASSIGN_OR_RETURN(
      decoder.head_dim,
      config.GetIntOr("head_dim", decoder.width / decoder.heads, {.min = 2, .max = 1024}));
  TESSERA_ASSIGN_OR_RETURN(decoder.ffn_width, config.GetInt(ffn_field, kWidthRange));
  TESSERA_ASSIGN_OR_RETURN(decoder.norm_eps,
                           config.GetFloatOr("rms_norm_eps", 1e-6, {.min = 0, .max = 1}));
  TESSERA_ASSIGN_OR_RETURN(decoder.tied_head, config.GetBoolOr("tie_word_embeddings", false));
  TESSERA_ASSIGN_OR_RETURN(const std::string activation, config.GetStringOr("hidden_act", "silu"));
  if (activation != "silu") {
    return Unimplemented("{}: field 'hidden_act': got '{}', accepted: silu", config.name(),
                         activation);
  }
  TESSERA_RETURN_IF_ERROR(RefuseIfTrue(config, "use_sliding_window"));
  TESSERA_RETURN_IF_ERROR(RefuseIfTrue(config, "mlp_bias"));
  TESSERA_RETURN_IF_ERROR(RefuseIfTrue(config, "use_mrope"));
  TESSERA_ASSIGN_OR_RETURN(const bool config_bias, config.GetBoolOr("attention_bias", false));
  if (bias != QkvBias::kYes && config_bias) {
    return Unimplemented("{}: field 'attention_bias': got true, accepted: false", config.name());
  }
  TESSERA_RETURN_IF_ERROR(ReadRope(config, &decoder));
  decoder.names = HuggingFaceNames(bias == QkvBias::kYes, norm == QkNorm::kYes);

  decoder.traits.vocab_size = static_cast<int32_t>(decoder.vocab);
  TESSERA_ASSIGN_OR_RETURN(const int64_t positions,
                           config.GetIntOr("max_position_embeddings", 2048, kPositionsRange));
  decoder.traits.max_positions = static_cast<int32_t>(positions);
  TESSERA_RETURN_IF_ERROR(ReadStopIds(config, &decoder));
  TESSERA_ASSIGN_OR_RETURN(decoder.traits.mask_id,
                           ReadTokenId(config, "mask_token_id", decoder.vocab));
  TESSERA_RETURN_IF_ERROR(CheckDecoderConfig(config, decoder));
  return decoder;
}

}  // namespace tessera::models
