// LLaDA-8B (arXiv 2502.09992): OLMo-style names and fields, bidirectional attention, logits not
// shifted.
#include "tessera/models/architecture.h"
#include "tessera/models/hugging_face.h"

namespace tessera::models::architecture {
namespace {

TensorNames LLaDANames() {
  const std::string layer = "model.transformer.blocks.{}.";
  TensorNames names;
  names.embedding = "model.transformer.wte.weight";
  names.final_norm = "model.transformer.ln_f.weight";
  names.head = "model.transformer.ff_out.weight";  // not the FFN's ff_out
  names.attention_norm = layer + "attn_norm.weight";
  names.q = layer + "q_proj.weight";
  names.k = layer + "k_proj.weight";
  names.v = layer + "v_proj.weight";
  names.o = layer + "attn_out.weight";
  names.ffn_norm = layer + "ff_norm.weight";
  names.gate = layer + "ff_proj.weight";
  names.up = layer + "up_proj.weight";
  names.down = layer + "ff_out.weight";
  return names;
}

// The OLMo code base has many switches; LLaDA uses one setting of each.
Status CheckFixedFields(const JsonObject& config) {
  const auto expect = [&](const char* field, const char* accepted) -> Status {
    TESSERA_ASSIGN_OR_RETURN(const std::string value, config.GetStringOr(field, accepted));
    if (value == accepted) return OkStatus();
    return Unimplemented("{}: field '{}': got '{}', accepted: {}", config.name(), field, value,
                         accepted);
  };
  TESSERA_RETURN_IF_ERROR(expect("block_type", "llama"));
  TESSERA_RETURN_IF_ERROR(expect("layer_norm_type", "rms"));
  TESSERA_RETURN_IF_ERROR(expect("activation_type", "silu"));
  for (const char* field : {"alibi", "attention_layer_norm", "bias_for_layer_norm", "include_bias",
                            "include_qkv_bias", "input_emb_norm", "scale_logits"}) {
    TESSERA_ASSIGN_OR_RETURN(const bool value, config.GetBoolOr(field, false));
    if (value) {
      return Unimplemented("{}: field '{}': got true, accepted: false", config.name(), field);
    }
  }
  TESSERA_ASSIGN_OR_RETURN(const bool rope, config.GetBoolOr("rope", true));
  if (!rope) return Unimplemented("{}: field 'rope': got false, accepted: true", config.name());
  return OkStatus();
}

Result<DecoderConfig> Parse(const JsonObject& config) {
  TESSERA_RETURN_IF_ERROR(CheckFixedFields(config));
  DecoderConfig decoder;
  decoder.architecture = "llada";
  TESSERA_ASSIGN_OR_RETURN(const int64_t vocab, config.GetInt("vocab_size", kVocabRange));
  // Rows of the embedding; it may be padded past the vocabulary.
  TESSERA_ASSIGN_OR_RETURN(decoder.vocab, config.GetIntOr("embedding_size", vocab,
                                                          {.min = vocab, .max = kVocabRange.max}));
  TESSERA_ASSIGN_OR_RETURN(decoder.width, config.GetInt("d_model", kWidthRange));
  TESSERA_ASSIGN_OR_RETURN(decoder.layers, config.GetInt("n_layers", kCountRange));
  TESSERA_ASSIGN_OR_RETURN(decoder.heads, config.GetInt("n_heads", kCountRange));
  TESSERA_ASSIGN_OR_RETURN(decoder.kv_heads,
                           config.GetIntOr("n_kv_heads", decoder.heads, kCountRange));
  if (decoder.width % decoder.heads != 0) {
    return InvalidArgument("{}: d_model {} is not a multiple of n_heads {}", config.name(),
                           decoder.width, decoder.heads);
  }
  decoder.head_dim = decoder.width / decoder.heads;
  TESSERA_ASSIGN_OR_RETURN(const int64_t mlp_ratio, config.GetIntOr("mlp_ratio", 4, kCountRange));
  TESSERA_ASSIGN_OR_RETURN(
      decoder.ffn_width,
      config.GetIntOr("mlp_hidden_size", mlp_ratio * decoder.width, kWidthRange));
  TESSERA_ASSIGN_OR_RETURN(decoder.norm_eps,
                           config.GetFloatOr("rms_norm_eps", 1e-5, {.min = 0, .max = 1}));
  TESSERA_ASSIGN_OR_RETURN(decoder.rope_theta,
                           config.GetFloatOr("rope_theta", 10000, {.min = 1e-12, .max = 1e12}));
  TESSERA_ASSIGN_OR_RETURN(decoder.tied_head, config.GetBoolOr("weight_tying", true));
  decoder.names = LLaDANames();

  decoder.traits.attention = ops::AttentionKind::kBidirectional;
  decoder.traits.vocab_size = static_cast<int32_t>(decoder.vocab);
  TESSERA_ASSIGN_OR_RETURN(const int64_t positions,
                           config.GetIntOr("max_sequence_length", 1024, kPositionsRange));
  decoder.traits.max_positions = static_cast<int32_t>(positions);
  TESSERA_RETURN_IF_ERROR(ReadStopIds(config, &decoder));
  TESSERA_ASSIGN_OR_RETURN(decoder.traits.mask_id,
                           ReadTokenId(config, "mask_token_id", decoder.vocab));
  if (decoder.traits.mask_id < 0) {
    return InvalidArgument("{}: field 'mask_token_id' is missing", config.name());
  }
  TESSERA_RETURN_IF_ERROR(CheckDecoderConfig(config, decoder));
  return decoder;
}

}  // namespace

const Architecture& LLaDA() {
  static const Architecture entry = {.name = "llada",
                                     .class_name = "LLaDAModelLM",
                                     .model_type = "llada",
                                     .default_strategy = "threshold=0.9,cache=dual",
                                     .parse = Parse};
  return entry;
}

}  // namespace tessera::models::architecture
