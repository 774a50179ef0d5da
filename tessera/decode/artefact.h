// Trained parts of strategies: named tensors that a strategy text refers to by path.
//
// Strategies do no I/O. Whoever builds one passes a loader, which is called while the strategy is
// made and never later; values are finite, shapes agree with the number of values.
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
using Artefact = std::map<std::string, ArtefactTensor>;

// Empty: the program offers no files.
using ArtefactLoader = std::function<Result<Artefact>(const std::string& path)>;

}  // namespace tessera::decode
