// Backends this build does not have: the same entry points, each with an error that says what to
// do.
#pragma once

#include <memory>
#include <string_view>

#include "tessera/base/status.h"
#include "tessera/ops/device.h"

namespace tessera::none {

// kUnimplemented: `name` is "cuda" or "cuda:N".
Result<std::unique_ptr<ops::Device>> MakeCudaDevice(std::string_view name);

}  // namespace tessera::none
