// Routing of rows to the experts of a mixture on the host: the loop behind Device::Route.
#pragma once

#include <cstdint>

#include "tessera/ops/device.h"

namespace tessera::ops {

// Rows [begin, end) of the arguments; a row's choice depends on its own logits alone. All pointers
// are host memory.
void RouteRows(const RouteArgs& args, int64_t begin, int64_t end);

}  // namespace tessera::ops
