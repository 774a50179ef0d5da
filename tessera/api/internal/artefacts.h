// Files that trained parts of strategies are read from; not installed.
//
// A file is the user's choice and may be anything: it is validated as every safetensors file is,
// its size is bounded, and every value must be finite.
#pragma once

#include <string>

#include "tessera/base/status.h"
#include "tessera/decode/artefact.h"

namespace tessera::api {

// Reads files that a strategy text names, or that lie in the model's `folder`.
decode::ArtefactLoader LoadArtefactsBeside(const std::string& folder);

}  // namespace tessera::api
