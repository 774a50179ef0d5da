// Lets the op suite, which passes host memory, run on a device with memory of its own.
#pragma once

#include <memory>

#include "tessera/ops/device.h"

namespace tessera::ops_test {

// Copies the rows and weights of every operation to `device` and its results back, where they must
// not have been written behind their end. K/V pages and matrices are the device's own: tests reach
// them by Allocate, Write and Read.
std::unique_ptr<ops::Device> MakeStagedDevice(std::unique_ptr<ops::Device> device);

}  // namespace tessera::ops_test
