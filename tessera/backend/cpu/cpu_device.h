// The CPU backend behind ops::Device.
//
// Owns its thread pool and scratch memory. Every operation is batch-invariant and independent of
// the thread count: see linear.h, attention.h and head_stats.h for how.
#pragma once

#include <memory>

#include "tessera/backend/cpu/isa.h"
#include "tessera/ops/device.h"

namespace tessera::cpu {

// threads == 0: one per available core. `isa` must be in AvailableIsas().
std::unique_ptr<ops::Device> MakeCpuDevice(Isa isa, int threads);

}  // namespace tessera::cpu
