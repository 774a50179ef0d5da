// A fixed set of threads that run one loop at a time, and the number of cores we may use.
//
// Made once and passed down; there is no global pool. ParallelFor may be called from any thread:
// a call made while another one is running (nested, or from a second thread) runs inline.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "tessera/base/function_ref.h"

namespace tessera {

// Cores this process may keep busy: the affinity mask, cut down to the CPU quota of its cgroup
// (v1 or v2, rounded up). At least 1.
int AvailableCores();

class ThreadPool {
 public:
  using Body = FunctionRef<void(int64_t begin, int64_t end, int worker)>;

  // threads == 0: AvailableCores().
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Calls body on disjoint ranges that cover [0, n); every range begins at a multiple of grain and
  // is a multiple of grain long, except the last. `worker` is in [0, size()), the caller is 0, and
  // no two calls with the same worker run at once, so it may index per-worker scratch. Which ranges
  // a worker gets depends on timing: results must not depend on it. Returns when all are done.
  // Allocates nothing. Inline runs pass the worker they are nested in.
  void ParallelFor(int64_t n, int64_t grain, Body body);

 private:
  void WorkerMain(int worker);
  void RunChunks(int worker);

  // One loop. Written by the caller while state_ is 0, read by workers that joined.
  struct Loop {
    const Body* body = nullptr;
    int64_t n = 0;
    int64_t grain = 1;
  };

  const int size_;
  std::vector<std::thread> threads_;
  Loop loop_;
  alignas(64) std::atomic<int64_t> next_{0};   // first index not handed out
  alignas(64) std::atomic<int32_t> epoch_{0};  // bumped per loop; idle workers sleep on it
  alignas(64) std::atomic<int32_t> state_{0};  // kOpen bit, and 2 per worker inside the loop
  alignas(64) std::atomic<bool> busy_{false};  // a loop is running
  std::atomic<bool> stop_{false};
};

namespace internal {

// CPU quota in cores (rounded up) that the cgroup file system below `cgroup_root` sets for the
// process whose /proc/self/cgroup reads `membership`; 0 if none.
int CgroupCpuQuota(const std::string& membership, const std::string& cgroup_root);

}  // namespace internal
}  // namespace tessera
