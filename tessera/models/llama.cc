// Llama 2 and 3: causal, no biases, optional Llama 3.1 rotary scaling.
#include "tessera/models/architecture.h"
#include "tessera/models/hugging_face.h"

namespace tessera::models::architecture {
namespace {

Result<DecoderConfig> Parse(const JsonObject& config) {
  TESSERA_ASSIGN_OR_RETURN(DecoderConfig decoder,
                           ParseHuggingFaceDecoder(config, QkvBias::kNo, QkNorm::kNo));
  decoder.architecture = "llama";
  decoder.traits.attention = ops::AttentionKind::kCausal;
  decoder.traits.shifted_logits = true;
  decoder.traits.mask_id = -1;
  return decoder;
}

}  // namespace

const Architecture& Llama() {
  static const Architecture entry = {.name = "llama",
                                     .class_name = "LlamaForCausalLM",
                                     .model_type = "llama",
                                     .default_strategy = "ar",
                                     .parse = Parse};
  return entry;
}

}  // namespace tessera::models::architecture
