// Qwen2 and Qwen2.5: causal, biases on Q, K and V only.
#include "tessera/models/architecture.h"
#include "tessera/models/hugging_face.h"

namespace tessera::models::architecture {
namespace {

Result<DecoderConfig> Parse(const JsonObject& config) {
  TESSERA_ASSIGN_OR_RETURN(DecoderConfig decoder,
                           ParseHuggingFaceDecoder(config, QkvBias::kYes, QkNorm::kNo));
  decoder.architecture = "qwen2";
  decoder.traits.attention = ops::AttentionKind::kCausal;
  decoder.traits.shifted_logits = true;
  decoder.traits.mask_id = -1;
  return decoder;
}

}  // namespace

const Architecture& Qwen2() {
  static const Architecture entry = {.name = "qwen2",
                                     .class_name = "Qwen2ForCausalLM",
                                     .model_type = "qwen2",
                                     .default_strategy = "ar",
                                     .parse = Parse};
  return entry;
}

}  // namespace tessera::models::architecture
