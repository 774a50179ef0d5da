// Random weights of any listed architecture, so that loading and speed can be tested at full size.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tessera/base/status.h"
#include "tessera/models/decoder_config.h"
#include "tessera/tensor/dtype.h"

namespace tessera::models {

struct SyntheticOptions {
  uint64_t seed = 0;
  DType dtype = DType::kBF16;  // f32, f16 or bf16
  int64_t max_shard_bytes = int64_t{5} << 30;
  std::function<bool(int64_t, int64_t)> progress;  // (bytes, all bytes); false cancels
};

// Writes the tensors of `config` into the existing folder, in one file or in shards. Values depend
// only on seed, tensor name and index: matrices are uniform with the variance that keeps
// activations of unit size, norm weights lie around 1.
Status WriteSyntheticWeights(const DecoderConfig& config, const std::string& folder,
                             const SyntheticOptions& options);

}  // namespace tessera::models
