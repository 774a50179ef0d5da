// What the machine under us offers: read from the system, and measured.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tessera/base/thread_pool.h"
#include "tessera/tensor/tensor.h"

namespace tessera::backend {

struct Machine {
  std::string cpu;                // model name
  int cores = 0;                  // available to this process
  std::vector<std::string> isas;  // usable levels, weakest first
  int64_t memory_bytes = 0, available_bytes = 0;
  double read_bandwidth_one = 0;  // bytes/s, one core, far past the last-level cache
  double read_bandwidth_all = 0;  // bytes/s, all cores
  std::vector<std::pair<std::string, double>> gflops;  // "avx512 f32", 1e9 (fl)op/s of all cores
};

int64_t TotalMemory();
// Bytes that programs can still take without swapping; 0 when the system does not say.
int64_t AvailableMemory();

// Bytes per second that threads read memory with, measured whenever asked: for floors of timings
// beside it. Holds a buffer that no last-level cache we know holds (the largest seen is 480 MB).
class BandwidthProbe {
 public:
  // `small`: a buffer of 16 MiB, for tests.
  explicit BandwidthProbe(int threads, bool small = false);
  int threads() const { return pool_.size(); }
  double Measure();  // about 0.2 s

 private:
  ThreadPool pool_;
  Buffer buffer_;
};

// Takes a few seconds: it measures.
Machine ExamineMachine();

}  // namespace tessera::backend
