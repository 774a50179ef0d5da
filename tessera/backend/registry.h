// Makes devices by name. Only engine/ and tests include this header.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/ops/device.h"

namespace tessera::backend {

struct DeviceOptions {
  std::string name = "cpu";  // "cpu", "cuda:N", "cuda" for "cuda:0", "ref"
  std::string isa = "auto";  // cpu: auto | generic | avx2 | avx512 | avx512bf16 | amx
  int threads = 0;           // cpu: 0 = one per available core
};

// Refuses unknown names, and instruction sets that this machine does not have, with the list of
// what would be accepted.
Result<std::unique_ptr<ops::Device>> MakeDevice(const DeviceOptions& options);

// Instruction-set levels of this machine that "isa" accepts, weakest first.
std::vector<std::string> AvailableIsas();

}  // namespace tessera::backend
