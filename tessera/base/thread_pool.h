// A fixed set of threads that run one loop at a time.
//
// Made once and passed down; there is no global pool. ParallelFor may be called from any thread:
// a call made while another one is running (nested, or from a second thread) runs inline.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "tessera/base/cpu_topology.h"
#include "tessera/base/function_ref.h"

namespace tessera {

// Which processors a worker may run on. The thread that calls ParallelFor belongs to the user and
// is never bound.
enum class Binding {
  // kNode on machines with several memory nodes, otherwise kNone: a worker bound to a core that
  // another program keeps busy cannot move to the one that the waiting caller leaves idle.
  kAuto,
  kNone,  // anywhere the process may
  kNode,  // the processors of its memory node, so that it stays with the memory it touched first
  kCore,  // one processor each; as kNode unless there is exactly one for every worker
};

struct ThreadPoolOptions {
  int threads = 0;  // 0: AvailableCores()
  Binding binding = Binding::kAuto;
  // Where workers belong; empty: ReadCpuTopology(). A test's topology takes no part in binding.
  CpuTopology topology = {};
};

class ThreadPool {
 public:
  using Body = FunctionRef<void(int64_t begin, int64_t end, int worker)>;

  explicit ThreadPool(const ThreadPoolOptions& options);
  explicit ThreadPool(int threads = 0) : ThreadPool(ThreadPoolOptions{.threads = threads}) {}
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Calls body on disjoint ranges that cover [0, n); every range begins at a multiple of grain and
  // is a multiple of grain long, except the last. `worker` is in [0, size()), the caller is 0, and
  // no two calls with the same worker run at once, so it may index per-worker scratch. Returns when
  // all are done. Allocates nothing. Inline runs pass the worker they are nested in.
  //
  // A worker begins with its home range and then takes over what others have not begun, those of
  // its memory node first. Home ranges depend only on n, grain and size(): loops over the same n
  // (packing a matrix, multiplying by it) find the same worker at the same place unless cores are
  // busy. Results must not depend on who ran what.
  void ParallelFor(int64_t n, int64_t grain, Body body);

  // [begin, end) of worker's home range; 0 <= worker < size().
  std::pair<int64_t, int64_t> HomeRange(int64_t n, int64_t grain, int worker) const;

 private:
  // What workers write, one pair of cache lines each.
  struct alignas(128) Slot {
    std::atomic<int64_t> next{0};      // first index of the home range not handed out
    int64_t end = 0;                   // of the home range
    std::atomic<int32_t> presence{0};  // kOutside, kInside, or kAwaited
  };
  // One loop. Written by the caller while no worker is inside, read by workers that joined.
  struct Loop {
    const Body* body = nullptr;
    int64_t grain = 1;
  };

  void WorkerMain(int worker);
  void BindWorker(int worker, const ThreadPoolOptions& options);
  void RunHome(int worker);
  void Drain(int victim, int worker);
  void WakeSleepers();
  void AwaitWorkers();

  const int size_;
  std::chrono::microseconds spin_{0};
  std::vector<std::pair<int, int>> neighbours_;  // per worker: first and end worker of its node
  std::unique_ptr<Slot[]> slots_;
  std::vector<std::thread> threads_;
  Loop loop_;
  alignas(128) std::atomic<int32_t> epoch_{0};  // odd while workers may join; two steps per loop
  alignas(128) std::atomic<int32_t> sleepers_{0};
  std::atomic<bool> busy_{false};  // a loop is running
  std::atomic<bool> stop_{false};
};

}  // namespace tessera
