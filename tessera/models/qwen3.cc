// Qwen3 and Qwen3-MoE: causal, RMSNorm on each Q and K head, head size independent of the width;
// the latter with a mixture of experts in all layers that its config does not name as dense.
#include "tessera/models/architecture.h"
#include "tessera/models/hugging_face.h"

namespace tessera::models::architecture {
namespace {

Result<DecoderConfig> Parse(const JsonObject& config) {
  TESSERA_ASSIGN_OR_RETURN(DecoderConfig decoder,
                           ParseHuggingFaceDecoder(config, QkvBias::kNo, QkNorm::kYes));
  decoder.architecture = "qwen3";
  decoder.traits.attention = ops::AttentionKind::kCausal;
  decoder.traits.shifted_logits = true;
  decoder.traits.mask_id = -1;
  return decoder;
}

Result<DecoderConfig> ParseMoe(const JsonObject& config) {
  TESSERA_ASSIGN_OR_RETURN(DecoderConfig decoder, Parse(config));
  decoder.architecture = "qwen3_moe";
  TESSERA_RETURN_IF_ERROR(ReadQwen3Mixture(config, &decoder));
  return decoder;
}

}  // namespace

const Architecture& Qwen3() {
  static const Architecture entry = {.name = "qwen3",
                                     .class_name = "Qwen3ForCausalLM",
                                     .model_type = "qwen3",
                                     .default_strategy = "ar",
                                     .parse = Parse};
  return entry;
}

const Architecture& Qwen3Moe() {
  static const Architecture entry = {.name = "qwen3_moe",
                                     .class_name = "Qwen3MoeForCausalLM",
                                     .model_type = "qwen3_moe",
                                     .default_strategy = "ar",
                                     .parse = ParseMoe};
  return entry;
}

}  // namespace tessera::models::architecture
