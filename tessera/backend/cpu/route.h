// Routing of rows to the experts of a mixture: the loop behind ops::Device::Route.
#pragma once

#include <cstdint>

#include "tessera/ops/device.h"

namespace tessera::cpu {

// Rows [begin, end) of the arguments; a row's choice depends on its own logits alone.
void RouteRows(const ops::RouteArgs& args, int64_t begin, int64_t end);

}  // namespace tessera::cpu
