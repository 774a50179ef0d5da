// What this machine can do: the denominators of every benchmark here.
#pragma once

#include <cstdint>

#include "tessera/backend/cpu/isa.h"
#include "tessera/base/thread_pool.h"

namespace tessera::cpu {

// Seconds on a monotonic clock.
double Now();

// Seconds of processor time of the calling thread: excludes time taken by other programs.
double ThreadNow();

// The same, summed over all threads of the process.
double ProcessNow();

// Bytes per second that reading `data` once takes with every thread of the pool: the fastest of a
// few loops (vector loads with and without software prefetch).
double ReadBandwidth(const void* data, int64_t bytes, ThreadPool& pool);

// Multiply-add rate in flop/s of one core at a level, on registers only; f32, and bf16 inputs with
// f32 sums (through f32 where the level has no bf16 instruction).
double PeakF32(cpu::Isa isa);
double PeakBF16(cpu::Isa isa);

// The same for int8 inputs with int32 sums, in operations (multiply and add) per second; 0 at
// levels that have no instruction for it.
double PeakInt8(cpu::Isa isa);

}  // namespace tessera::cpu
