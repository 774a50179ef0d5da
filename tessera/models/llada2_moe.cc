// LLaDA2.0 and 2.1, mini and flash (arXiv 2512.15745): Ling 2.0's network (fused Q|K|V, norms on
// each Q and K head, half of each head rotated, grouped sigmoid routing with a balancing bias,
// shared expert, dense first layers), block-causal attention, logits not shifted.
#include <algorithm>

#include "tessera/models/architecture.h"
#include "tessera/models/hugging_face.h"

namespace tessera::models::architecture {
namespace {

constexpr ops::TokenId kMaskId = 156895;  // of the released checkpoints, absent from their config

TensorNames LLaDA2Names(bool qkv_bias, bool qk_norm) {
  const std::string layer = "model.layers.{}.";
  TensorNames names;
  names.embedding = "model.word_embeddings.weight";
  names.final_norm = "model.norm.weight";
  names.head = "lm_head.weight";
  names.attention_norm = layer + "input_layernorm.weight";
  names.qkv = layer + "attention.query_key_value.weight";
  if (qkv_bias) names.qkv_bias = layer + "attention.query_key_value.bias";
  if (qk_norm) {
    names.q_norm = layer + "attention.query_layernorm.weight";
    names.k_norm = layer + "attention.key_layernorm.weight";
  }
  names.o = layer + "attention.dense.weight";
  names.ffn_norm = layer + "post_attention_layernorm.weight";
  names.gate = layer + "mlp.gate_proj.weight";
  names.up = layer + "mlp.up_proj.weight";
  names.down = layer + "mlp.down_proj.weight";
  names.router_bias = layer + "mlp.gate.expert_bias";
  names.shared_gate = layer + "mlp.shared_experts.gate_proj.weight";
  names.shared_up = layer + "mlp.shared_experts.up_proj.weight";
  names.shared_down = layer + "mlp.shared_experts.down_proj.weight";
  return names;
}

// Switches that would change the network.
Status CheckFixedFields(const JsonObject& config) {
  const auto expect = [&](const char* field, bool accepted) -> Status {
    TESSERA_ASSIGN_OR_RETURN(const bool value, config.GetBoolOr(field, accepted));
    if (value == accepted) return OkStatus();
    return Unimplemented("{}: field '{}': got {}, accepted: {}", config.name(), field, value,
                         accepted);
  };
  TESSERA_RETURN_IF_ERROR(expect("use_bias", false));
  TESSERA_RETURN_IF_ERROR(expect("norm_head", false));
  TESSERA_RETURN_IF_ERROR(expect("moe_router_enable_expert_bias", true));
  TESSERA_RETURN_IF_ERROR(expect("norm_topk_prob", true));
  TESSERA_ASSIGN_OR_RETURN(const std::string score,
                           config.GetStringOr("score_function", "sigmoid"));
  if (score != "sigmoid") {
    return Unimplemented("{}: field 'score_function': got '{}', accepted: sigmoid", config.name(),
                         score);
  }
  return OkStatus();
}

Status ReadRouter(const JsonObject& config, DecoderConfig* decoder) {
  MixtureConfig& mixture = decoder->mixture;
  ops::RouterSpec& router = mixture.router;
  router.score = ops::RouterScore::kSigmoid;
  router.normalise = router.top_k > 1;  // as published
  TESSERA_ASSIGN_OR_RETURN(
      const int64_t groups,
      config.GetIntOr("n_group", 8, {.min = 1, .max = std::max<int64_t>(1, mixture.experts / 2)}));
  TESSERA_ASSIGN_OR_RETURN(const int64_t top_groups,
                           config.GetIntOr("topk_group", 4, {.min = 1, .max = groups}));
  router.groups = static_cast<int32_t>(groups);
  router.top_groups = static_cast<int32_t>(top_groups);
  if (mixture.experts % groups != 0 || mixture.experts / groups * top_groups < router.top_k) {
    return InvalidArgument(
        "{}: {} experts in {} groups, of which {} are chosen from: accepted are groups of equal "
        "size that leave {} experts or more",
        config.name(), mixture.experts, groups, top_groups, router.top_k);
  }
  TESSERA_ASSIGN_OR_RETURN(const double scale,
                           config.GetFloatOr("routed_scaling_factor", 2.5, {.min = 0, .max = 1e6}));
  router.scale = static_cast<float>(scale);
  return OkStatus();
}

Status ReadLayers(const JsonObject& config, DecoderConfig* decoder) {
  MixtureConfig& mixture = decoder->mixture;
  TESSERA_ASSIGN_OR_RETURN(
      const int64_t dense,
      config.GetIntOr("first_k_dense_replace", 0, {.min = 0, .max = decoder->layers}));
  std::fill_n(mixture.layers.begin(), dense, false);
  TESSERA_ASSIGN_OR_RETURN(const int64_t shared,
                           config.GetIntOr("num_shared_experts", 0, {.min = 0, .max = 64}));
  mixture.shared_width = shared * mixture.expert_width;
  return OkStatus();
}

Result<DecoderConfig> Parse(const JsonObject& config) {
  TESSERA_RETURN_IF_ERROR(CheckFixedFields(config));
  TESSERA_ASSIGN_OR_RETURN(const bool qkv_bias, config.GetBoolOr("use_qkv_bias", false));
  TESSERA_ASSIGN_OR_RETURN(const bool qk_norm, config.GetBoolOr("use_qk_norm", true));
  TESSERA_ASSIGN_OR_RETURN(DecoderConfig decoder,
                           ParseHuggingFaceDecoder(config, QkvBias::kNo, QkNorm::kNo));
  decoder.architecture = "llada2_moe";
  decoder.names = LLaDA2Names(qkv_bias, qk_norm);
  TESSERA_ASSIGN_OR_RETURN(decoder.norm_eps,
                           config.GetFloatOr("rms_norm_eps", 1e-5, {.min = 0, .max = 1}));
  TESSERA_RETURN_IF_ERROR(ReadPartialRotary(config, 0.5, &decoder));
  TESSERA_RETURN_IF_ERROR(ReadMixture(config, "moe_intermediate_size", &decoder));
  TESSERA_RETURN_IF_ERROR(ReadRouter(config, &decoder));
  TESSERA_RETURN_IF_ERROR(ReadLayers(config, &decoder));
  decoder.traits.attention = ops::AttentionKind::kBlockCausal;
  TESSERA_ASSIGN_OR_RETURN(const int64_t block,
                           config.GetIntOr("block_size", 32, {.min = 1, .max = 4096}));
  decoder.traits.block = static_cast<int32_t>(block);
  if (decoder.traits.mask_id < 0 && kMaskId < decoder.vocab) decoder.traits.mask_id = kMaskId;
  return decoder;
}

}  // namespace

const Architecture& LLaDA2Moe() {
  // Threshold and schedule of the technical report and of the published generate().
  static const Architecture entry = {.name = "llada2_moe",
                                     .class_name = "LLaDA2MoeModelLM",
                                     .model_type = "llada2_moe",
                                     .default_strategy = "dynamic=0.95,cache=exact",
                                     .parse = Parse};
  return entry;
}

}  // namespace tessera::models::architecture
