// What config.json would say of a model in a GGUF file, from its metadata keys. Knows the
// architectures that public converters write and we run; all others are refused with that list,
// and so is everything that would change the network (experts, windows, other rotary scaling).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tessera/base/status.h"
#include "tessera/formats/gguf_header.h"

namespace tessera {

inline constexpr std::string_view kGgufEmbedding = "token_embd.weight";
inline constexpr std::string_view kGgufHead = "output.weight";
// Divisors of the rotary frequencies, f32 [head_dim / 2]; how Llama 3.1's scaling is stored.
inline constexpr std::string_view kGgufRopeFactors = "rope_freqs.weight";

struct GgufShape {  // what only the tensors say
  int64_t vocab = 0;
  bool tied_head = false;
};

// An object in the manner of config.json: class, sizes, rotary base, special token ids.
Result<nlohmann::json> GgufConfig(const GgufMetadata& metadata, const GgufShape& shape);

// Head counts of the projections whose rows the converter reordered for the architecture at hand;
// zeros where it keeps Hugging Face's order.
struct RotatedHeads {
  int64_t q = 0, k = 0;
  // Of the tensor with this name; 0 when its rows are in our order.
  int64_t CountFor(std::string_view tensor) const;
};
Result<RotatedHeads> RotatedHeadsOf(const GgufMetadata& metadata);

}  // namespace tessera
