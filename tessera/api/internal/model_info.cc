#include "tessera/api/internal/model_info.h"

namespace tessera::api {

ModelInfo InfoOf(const models::DecoderConfig& config, const models::Architecture& architecture) {
  ModelInfo info;
  info.architecture = architecture.name;
  info.attention = ops::Name(config.traits.attention);
  info.default_strategy = architecture.default_strategy;
  info.parameters = config.parameters();
  info.active_parameters = config.active_parameters();
  info.layers = config.layers;
  info.width = config.width;
  info.heads = config.heads;
  info.kv_heads = config.kv_heads;
  info.head_dim = config.head_dim;
  info.ffn_width = config.ffn_width;
  for (int64_t i = 0; i < config.layers; ++i) info.mixture_layers += config.IsMixture(i);
  if (info.mixture_layers > 0) {
    info.experts = config.mixture.experts;
    info.experts_per_row = config.mixture.router.top_k;
    info.expert_width = config.mixture.expert_width;
    info.shared_width = config.mixture.shared_width;
  }
  info.vocab = config.vocab;
  info.context = config.traits.max_positions;
  info.block = config.traits.block;
  info.shifted_logits = config.traits.shifted_logits;
  info.mask_id = config.traits.mask_id;
  info.stop_ids = config.traits.stop_ids;
  return info;
}

}  // namespace tessera::api
