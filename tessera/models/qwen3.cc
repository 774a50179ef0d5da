// Qwen3: causal, RMSNorm on each Q and K head, head size independent of the width.
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

}  // namespace

const Architecture& Qwen3() {
  static const Architecture entry = {.name = "qwen3",
                                     .class_name = "Qwen3ForCausalLM",
                                     .model_type = "qwen3",
                                     .default_strategy = "ar",
                                     .parse = Parse};
  return entry;
}

}  // namespace tessera::models::architecture
