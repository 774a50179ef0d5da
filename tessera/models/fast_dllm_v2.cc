// Fast-dLLM v2 (arXiv 2509.26328): Qwen2.5 weights and names, block-causal attention, shifted
// logits, sub-blocks while decoding.
#include "tessera/models/architecture.h"
#include "tessera/models/hugging_face.h"

namespace tessera::models::architecture {
namespace {

constexpr ops::TokenId kMaskId = 151665;  // of the released checkpoints, absent from their config

Result<DecoderConfig> Parse(const JsonObject& config) {
  TESSERA_ASSIGN_OR_RETURN(DecoderConfig decoder,
                           ParseHuggingFaceDecoder(config, QkvBias::kYes, QkNorm::kNo));
  decoder.architecture = "fast_dllm_v2";
  decoder.traits.attention = ops::AttentionKind::kBlockCausal;
  decoder.traits.shifted_logits = true;
  TESSERA_ASSIGN_OR_RETURN(const int64_t block,
                           config.GetIntOr("bd_size", 32, {.min = 1, .max = 4096}));
  decoder.traits.block = static_cast<int32_t>(block);
  if (decoder.traits.mask_id < 0 && kMaskId < decoder.vocab) decoder.traits.mask_id = kMaskId;
  return decoder;
}

}  // namespace

const Architecture& FastDllmV2() {
  static const Architecture entry = {
      .name = "fast_dllm_v2",
      .class_name = "Fast_dLLM_QwenForCausalLM",
      .model_type = "Fast_dLLM_Qwen",
      .default_strategy = "threshold=0.9,strict=on,cache=exact,sub_block=8",
      .parse = Parse};
  return entry;
}

}  // namespace tessera::models::architecture
