#include "tessera/models/gguf.h"

#include "tessera/formats/gguf_config.h"

namespace tessera::models {
namespace {

TensorNames GgufNames(const TensorNames& parsed, const GgufFile& file) {
  const auto layer = [](const char* part) { return std::string("blk.{}.") + part; };
  TensorNames names;
  names.embedding = kGgufEmbedding;
  names.final_norm = "output_norm.weight";
  names.head = kGgufHead;
  names.attention_norm = layer("attn_norm.weight");
  names.q = layer("attn_q.weight");
  names.k = layer("attn_k.weight");
  names.v = layer("attn_v.weight");
  names.o = layer("attn_output.weight");
  if (!parsed.q_bias.empty()) {
    names.q_bias = layer("attn_q.bias");
    names.k_bias = layer("attn_k.bias");
    names.v_bias = layer("attn_v.bias");
  }
  if (!parsed.q_norm.empty()) {
    names.q_norm = layer("attn_q_norm.weight");
    names.k_norm = layer("attn_k_norm.weight");
  }
  names.ffn_norm = layer("ffn_norm.weight");
  names.gate = layer("ffn_gate.weight");
  names.up = layer("ffn_up.weight");
  names.down = layer("ffn_down.weight");
  if (file.Has(kGgufRopeFactors)) names.rope_factors = kGgufRopeFactors;
  return names;
}

}  // namespace

Status UseGguf(const GgufFile& file, DecoderConfig* config) {
  config->names = GgufNames(config->names, file);
  if (config->traits.attention == ops::AttentionKind::kBidirectional) {
    TESSERA_ASSIGN_OR_RETURN(
        config->traits.shifted_logits,
        file.metadata().GetBoolOr("diffusion.shift_logits", config->traits.shifted_logits));
  }
  return OkStatus();
}

}  // namespace tessera::models
