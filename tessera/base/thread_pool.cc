#include "tessera/base/thread_pool.h"

#include <algorithm>
#include <chrono>

#include "tessera/base/check.h"

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

namespace tessera {
namespace {

// Slot::presence.
constexpr int32_t kOutside = 0;
constexpr int32_t kInside = 1;   // may be running the body
constexpr int32_t kAwaited = 2;  // inside, and the caller sleeps until it leaves

// How long an idle worker, and a caller waiting for the last worker, spins before it sleeps. On a
// 2-core Zen4 VM a spinning worker joins a loop 0.3 us after it opens and a sleeping one 14 to 24
// us after: spinning for about twice the price of waking bridges the gaps between the operations of
// a forward and wastes at most that much when there is no next loop.
constexpr std::chrono::microseconds kSpin{50};

// The loop body that the current thread is inside of, if any: calls nested in it run inline.
struct Inside {
  const ThreadPool* pool = nullptr;
  int worker = 0;
};
thread_local Inside inside;

void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until done() or `limit` has passed; true if done.
template <typename Done>
bool SpinUntil(std::chrono::microseconds limit, Done done) {
  if (limit.count() == 0) return done();
  const auto deadline = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 32; ++i) {  // a clock read costs about 20 ns, a pause 10 to 40
      if (done()) return true;
      CpuRelax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

// Lets the calling thread run on these processors only. A failure leaves it where it may run
// already, which is slower at worst.
void BindThread([[maybe_unused]] const std::vector<int>& cpus) {
#ifdef __linux__
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const int cpu : cpus) {
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &mask);
  }
  pthread_setaffinity_np(pthread_self(), sizeof(mask), &mask);
#endif
}

}  // namespace

ThreadPool::ThreadPool(const ThreadPoolOptions& options)
    : size_(options.threads > 0 ? options.threads : AvailableCores()),
      slots_(std::make_unique<Slot[]>(static_cast<size_t>(size_))) {
  const bool real = options.topology.nodes.empty();
  const CpuTopology topology = real ? ReadCpuTopology() : options.topology;
  const std::vector<WorkerPlace> places = PlaceWorkers(topology, size_);
  for (int begin = 0, end = 0; begin < size_; begin = end) {
    while (end < size_ && places[end].node == places[begin].node) ++end;
    neighbours_.resize(static_cast<size_t>(end), {begin, end});
  }
  // More threads than cores: whoever spins keeps a core from a thread that has work.
  if (size_ <= AvailableCores()) spin_ = kSpin;

  Binding binding = options.binding;
  if (binding == Binding::kAuto) {
    binding = topology.nodes.size() > 1 ? Binding::kNode : Binding::kNone;
  }
  threads_.reserve(static_cast<size_t>(size_ - 1));
  for (int worker = 1; worker < size_; ++worker) {
    std::vector<int> cpus;
    if (real && binding == Binding::kCore && places[worker].cpu >= 0) {
      cpus = {places[worker].cpu};
    } else if (real && binding != Binding::kNone) {
      cpus = topology.nodes[places[worker].node];
    }
    threads_.emplace_back([this, worker, cpus] {
      if (!cpus.empty()) BindThread(cpus);
      WorkerMain(worker);
    });
  }
}

ThreadPool::~ThreadPool() {
  TESSERA_CHECK(!busy_.load());
  stop_.store(true);
  epoch_.fetch_add(2);
  epoch_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::pair<int64_t, int64_t> ThreadPool::HomeRange(int64_t n, int64_t grain, int worker) const {
  // Borders are rounded up so that the caller, who is certain to be there, has the first grain.
  const int64_t grains = (n + grain - 1) / grain;
  const auto border = [&](int64_t of) {
    return std::min(n, (grains * of + size_ - 1) / size_ * grain);
  };
  return {border(worker), border(worker + 1)};
}

void ThreadPool::ParallelFor(int64_t n, int64_t grain, Body body) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (inside.pool == this) {
    body(0, n, inside.worker);
    return;
  }
  const Inside saved = inside;
  inside = {this, 0};
  if (size_ == 1 || n <= grain || busy_.exchange(true)) {
    body(0, n, 0);
    inside = saved;
    return;
  }
  loop_ = {&body, grain};
  for (int worker = 0; worker < size_; ++worker) {
    const auto [begin, end] = HomeRange(n, grain, worker);
    slots_[worker].next.store(begin, std::memory_order_relaxed);
    slots_[worker].end = end;
  }
  // Sequentially consistent with a worker's way to sleep: it counts itself, then looks at epoch_;
  // we change epoch_, then look at the count. One of the two sees the other. The kernel is called
  // only when somebody sleeps.
  epoch_.fetch_add(1);
  WakeSleepers();
  RunHome(0);
  AwaitWorkers();
  inside = saved;
  busy_.store(false, std::memory_order_release);
}

// Closing first means a worker that was never scheduled is not waited for, only those inside.
void ThreadPool::AwaitWorkers() {
  epoch_.fetch_add(1);  // sequentially consistent with WorkerMain's store to presence
  for (int worker = 1; worker < size_; ++worker) {
    std::atomic<int32_t>& presence = slots_[worker].presence;
    if (SpinUntil(spin_, [&] { return presence.load() == kOutside; })) continue;
    int32_t expected = kInside;
    while (presence.compare_exchange_strong(expected, kAwaited) || expected == kAwaited) {
      presence.wait(kAwaited);
      expected = kInside;
    }
  }
}

// Two at a time, each of whom wakes two more: the caller pays for two wake-ups, not for 63.
void ThreadPool::WakeSleepers() {
  for (int i = 0; i < 2 && sleepers_.load() > i; ++i) epoch_.notify_one();
}

void ThreadPool::RunHome(int worker) {
  Drain(worker, worker);
  const auto [begin, end] = neighbours_[worker];
  for (int victim = worker + 1; victim < end; ++victim) Drain(victim, worker);
  for (int victim = begin; victim < worker; ++victim) Drain(victim, worker);
  for (int victim = end; victim < size_; ++victim) Drain(victim, worker);
  for (int victim = 0; victim < begin; ++victim) Drain(victim, worker);
}

// Runs what is left of victim's home range.
void ThreadPool::Drain(int victim, int worker) {
  Slot& slot = slots_[victim];
  const Loop loop = loop_;
  int64_t begin = slot.next.load(std::memory_order_relaxed);
  while (begin < slot.end) {
    // Half of what is left: long contiguous runs first, single grains at the end, so that a core
    // busy with something else delays the loop by one small chunk at most.
    const int64_t half = (slot.end - begin) / 2 / loop.grain * loop.grain;
    const int64_t end = std::min(slot.end, begin + std::max(half, loop.grain));
    if (!slot.next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
    (*loop.body)(begin, end, worker);
    begin = slot.next.load(std::memory_order_relaxed);
  }
}

void ThreadPool::WorkerMain(int worker) {
  inside = {this, worker};
  std::atomic<int32_t>& presence = slots_[worker].presence;
  int32_t seen = 0;  // the epoch of the last loop joined, or an even one
  while (true) {
    const auto wanted = [&](int32_t epoch) {
      return (epoch != seen && epoch % 2 != 0) || stop_.load(std::memory_order_relaxed);
    };
    if (!SpinUntil(spin_, [&] { return wanted(epoch_.load(std::memory_order_acquire)); })) {
      sleepers_.fetch_add(1);
      for (int32_t epoch = epoch_.load(); !wanted(epoch); epoch = epoch_.load()) {
        epoch_.wait(epoch);
      }
      sleepers_.fetch_sub(1);
      WakeSleepers();
    }
    if (stop_.load()) return;
    // The caller closes epoch_, then looks for us; we say that we are inside, then look at epoch_.
    presence.store(kInside);
    seen = epoch_.load();
    if (seen % 2 != 0) RunHome(worker);
    if (presence.exchange(kOutside) == kAwaited) presence.notify_one();
  }
}

}  // namespace tessera
