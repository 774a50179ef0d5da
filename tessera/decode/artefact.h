// Trained parts of strategies: named tensors of a file.
//
// Strategies do no I/O. Whoever makes one passes a loader, which is called while the strategy is
// made and never later. Values are finite, and as many as the shape says.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tessera/base/status.h"

namespace tessera::decode {

struct ArtefactTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

struct Artefact {
  std::string path;  // for messages
  std::map<std::string, ArtefactTensor> tensors;
  std::map<std::string, std::string> metadata = {};
};

// `path` as it stands in the strategy text, a file or a folder that holds `own_name`; empty: the
// file of that name in the model's folder. An empty function: the program offers no files.
using ArtefactLoader =
    std::function<Result<Artefact>(const std::string& path, const std::string& own_name)>;

}  // namespace tessera::decode
