// LLaDA-MoE (arXiv 2509.24389): OLMoE's names and router, bidirectional attention, logits not
// shifted. The weights of the chosen experts are not normalised.
#include "tessera/models/architecture.h"
#include "tessera/models/hugging_face.h"

namespace tessera::models::architecture {
namespace {

constexpr ops::TokenId kMaskId = 156895;  // of the released checkpoints, absent from their config

// Switches of the published code that no released checkpoint uses.
Status CheckFixedFields(const JsonObject& config) {
  for (const char* field : {"clip_qkv", "moe_router_enable_expert_bias"}) {
    const auto found = config.json().find(field);
    if (config.Has(field) && *found != false) {
      return Unimplemented("{}: field '{}': got {}, accepted: null, false", config.name(), field,
                           found->dump());
    }
  }
  TESSERA_ASSIGN_OR_RETURN(const std::string score,
                           config.GetStringOr("moe_router_score_function", "softmax"));
  if (score != "softmax") {
    return Unimplemented("{}: field 'moe_router_score_function': got '{}', accepted: softmax",
                         config.name(), score);
  }
  return OkStatus();
}

// moe_layer_freq holds 0 for a dense layer and 1 for a mixture.
Status ReadLayers(const JsonObject& config, DecoderConfig* decoder) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<int64_t> kinds,
                           config.GetInts("moe_layer_freq", {.min = 0, .max = 1}));
  if (static_cast<int64_t>(kinds.size()) != decoder->layers) {
    return InvalidArgument(
        "{}: field 'moe_layer_freq': got {} numbers, accepted: one per layer, {}", config.name(),
        kinds.size(), decoder->layers);
  }
  for (size_t i = 0; i < kinds.size(); ++i) decoder->mixture.layers[i] = kinds[i] == 1;
  return OkStatus();
}

Status ReadSharedExpert(const JsonObject& config, DecoderConfig* decoder) {
  TESSERA_ASSIGN_OR_RETURN(
      decoder->mixture.shared_width,
      config.GetIntOr("shared_expert_intermediate_size", 0, {.min = 0, .max = kWidthRange.max}));
  const std::string shared = "model.layers.{}.shared_expert.";  // beside "mlp", not inside
  decoder->names.shared_gate = shared + "gate_proj.weight";
  decoder->names.shared_up = shared + "up_proj.weight";
  decoder->names.shared_down = shared + "down_proj.weight";
  return OkStatus();
}

Result<DecoderConfig> Parse(const JsonObject& config) {
  TESSERA_RETURN_IF_ERROR(CheckFixedFields(config));
  TESSERA_ASSIGN_OR_RETURN(const bool qk_norm, config.GetBoolOr("qk_layernorm", false));
  TESSERA_ASSIGN_OR_RETURN(
      DecoderConfig decoder,
      ParseHuggingFaceDecoder(config, QkvBias::kNo, qk_norm ? QkNorm::kYes : QkNorm::kNo,
                              "dense_intermediate_size"));
  decoder.architecture = "llada_moe";
  TESSERA_ASSIGN_OR_RETURN(decoder.norm_eps,
                           config.GetFloatOr("rms_norm_eps", 1e-5, {.min = 0, .max = 1}));
  TESSERA_RETURN_IF_ERROR(ReadPartialRotary(config, 1, &decoder));
  TESSERA_RETURN_IF_ERROR(ReadMixture(config, "expert_intermediate_size", &decoder));
  TESSERA_RETURN_IF_ERROR(ReadLayers(config, &decoder));
  TESSERA_RETURN_IF_ERROR(ReadSharedExpert(config, &decoder));
  decoder.traits.attention = ops::AttentionKind::kBidirectional;
  if (decoder.traits.mask_id < 0 && kMaskId < decoder.vocab) decoder.traits.mask_id = kMaskId;
  return decoder;
}

}  // namespace

const Architecture& LLaDAMoe() {
  // Threshold and cache as dInfer evaluates this model (arXiv 2510.08666). Its block of 64 is left
  // to the user: a block that is named must divide the length.
  static const Architecture entry = {.name = "llada_moe",
                                     .class_name = "LLaDAMoEModelLM",
                                     .model_type = "lladamoe",
                                     .default_strategy = "threshold=0.8,cache=dual",
                                     .parse = Parse};
  return entry;
}

}  // namespace tessera::models::architecture
