// The device "ref": the scalar reference behind ops::Device, for tests and for doubt.
#pragma once

#include <memory>

#include "tessera/ops/device.h"

namespace tessera::ops::ref {

std::unique_ptr<Device> MakeRefDevice();

}  // namespace tessera::ops::ref
