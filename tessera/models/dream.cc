// Dream (arXiv 2508.15487): Qwen2.5 weights and names, bidirectional attention, logits shifted by
// one as in the causal model it was adapted from.
#include "tessera/models/architecture.h"
#include "tessera/models/hugging_face.h"

namespace tessera::models::architecture {
namespace {

Result<DecoderConfig> Parse(const JsonObject& config) {
  TESSERA_ASSIGN_OR_RETURN(DecoderConfig decoder,
                           ParseHuggingFaceDecoder(config, QkvBias::kYes, QkNorm::kNo));
  decoder.architecture = "dream";
  decoder.traits.attention = ops::AttentionKind::kBidirectional;
  decoder.traits.shifted_logits = true;
  if (decoder.traits.mask_id < 0) {
    return InvalidArgument("{}: field 'mask_token_id' is missing", config.name());
  }
  return decoder;
}

}  // namespace

const Architecture& Dream() {
  static const Architecture entry = {.name = "dream",
                                     .class_name = "DreamModel",
                                     .model_type = "Dream",
                                     .default_strategy = "threshold=0.9,cache=dual",
                                     .parse = Parse};
  return entry;
}

}  // namespace tessera::models::architecture
