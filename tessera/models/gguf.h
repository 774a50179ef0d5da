// What a GGUF file says of its decoder beside config fields: tensor names, rotary divisors, and
// whether logits are shifted.
#pragma once

#include "tessera/base/status.h"
#include "tessera/formats/gguf.h"
#include "tessera/models/decoder_config.h"

namespace tessera::models {

// `config` was parsed from file.Config(); its names become those of the file.
Status UseGguf(const GgufFile& file, DecoderConfig* config);

}  // namespace tessera::models
