// SDAR and SDAR-MoE (arXiv 2510.06303): weights and names of Qwen3 and Qwen3-MoE, block-causal
// attention, logits not shifted.
#include "tessera/models/architecture.h"
#include "tessera/models/hugging_face.h"

namespace tessera::models::architecture {
namespace {

Result<DecoderConfig> Parse(const JsonObject& config) {
  TESSERA_ASSIGN_OR_RETURN(DecoderConfig decoder,
                           ParseHuggingFaceDecoder(config, QkvBias::kNo, QkNorm::kYes));
  decoder.architecture = "sdar";
  decoder.traits.attention = ops::AttentionKind::kBlockCausal;
  TESSERA_ASSIGN_OR_RETURN(const int64_t block,
                           config.GetIntOr("block_size", 4, {.min = 1, .max = 4096}));
  decoder.traits.block = static_cast<int32_t>(block);
  if (decoder.traits.mask_id < 0) {
    return InvalidArgument("{}: field 'mask_token_id' is missing", config.name());
  }
  return decoder;
}

Result<DecoderConfig> ParseMoe(const JsonObject& config) {
  TESSERA_ASSIGN_OR_RETURN(DecoderConfig decoder, Parse(config));
  decoder.architecture = "sdar_moe";
  TESSERA_RETURN_IF_ERROR(ReadQwen3Mixture(config, &decoder));
  return decoder;
}

}  // namespace

const Architecture& Sdar() {
  static const Architecture entry = {.name = "sdar",
                                     .class_name = "SDARForCausalLM",
                                     .model_type = "sdar",
                                     .default_strategy = "dynamic=0.9,cache=exact",
                                     .parse = Parse};
  return entry;
}

const Architecture& SdarMoe() {
  static const Architecture entry = {.name = "sdar_moe",
                                     .class_name = "SDARMoeForCausalLM",
                                     .model_type = "sdar_moe",
                                     .default_strategy = "dynamic=0.9,cache=exact",
                                     .parse = ParseMoe};
  return entry;
}

}  // namespace tessera::models::architecture
