// Files that trained parts of strategies are read from; not installed.
//
// A file is the user's choice and may be anything: it is validated as every safetensors file is,
// its size is bounded, and every value must be finite.
#pragma once

#include <string>

#include "tessera/base/status.h"
#include "tessera/decode/artefact.h"

namespace tessera::api {

// Reads files that lie in the model's `folder` and, with `named`, those that a strategy text names;
// without it a name is refused before anything is looked for.
decode::ArtefactLoader LoadArtefactsBeside(const std::string& folder, bool named);

}  // namespace tessera::api
