#include "tessera/base/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>

#include "tessera/base/check.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace tessera {
namespace {

constexpr int32_t kOpen = 1;    // workers may still join
constexpr int32_t kMember = 2;  // added per worker inside

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

// Spins until done() or kSpin has passed; true if done.
template <typename Done>
bool SpinUntil(Done done) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {  // a clock read costs about 20 ns, a pause 10 to 40
      if (done()) return true;
      CpuRelax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int threads) : size_(threads > 0 ? threads : AvailableCores()) {
  threads_.reserve(static_cast<size_t>(size_ - 1));
  for (int worker = 1; worker < size_; ++worker) {
    threads_.emplace_back([this, worker] { WorkerMain(worker); });
  }
}

ThreadPool::~ThreadPool() {
  TESSERA_CHECK(!busy_.load());
  stop_.store(true);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::ParallelFor(int64_t n, int64_t grain, Body body) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (inside.pool == this) {
    body(0, n, inside.worker);
    return;
  }
  const Inside saved = inside;
  if (size_ == 1 || n <= grain || busy_.exchange(true)) {
    inside = {this, 0};
    body(0, n, 0);
    inside = saved;
    return;
  }
  loop_ = {&body, n, grain};
  next_.store(0, std::memory_order_relaxed);
  state_.store(kOpen, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();

  RunChunks(0);

  // Closing first means a worker that was never scheduled is not waited for, only those inside.
  int32_t state = state_.fetch_sub(kOpen, std::memory_order_acq_rel) - kOpen;
  if (state != 0 && !SpinUntil([&] { return state_.load(std::memory_order_acquire) == 0; })) {
    while ((state = state_.load(std::memory_order_acquire)) != 0) {
      state_.wait(state, std::memory_order_acquire);
    }
  }
  busy_.store(false, std::memory_order_release);
  inside = saved;
}

void ThreadPool::RunChunks(int worker) {
  inside = {this, worker};
  const Loop loop = loop_;
  int64_t begin = next_.load(std::memory_order_relaxed);
  while (begin < loop.n) {
    // Half of an even share of what is left: long contiguous runs first, single grains at the end,
    // so that a core busy with something else delays the loop by one small chunk at most.
    const int64_t share = (loop.n - begin) / (2 * size_) / loop.grain * loop.grain;
    const int64_t end = std::min(loop.n, begin + std::max(share, loop.grain));
    if (!next_.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
    (*loop.body)(begin, end, worker);
    begin = next_.load(std::memory_order_relaxed);
  }
  inside = {};
}

void ThreadPool::WorkerMain(int worker) {
  int32_t seen = 0;
  while (true) {
    if (!SpinUntil([&] { return epoch_.load(std::memory_order_acquire) != seen; })) {
      epoch_.wait(seen, std::memory_order_acquire);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    int32_t state = state_.load(std::memory_order_relaxed);
    while ((state & kOpen) != 0) {
      if (!state_.compare_exchange_weak(state, state + kMember, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
        continue;
      }
      RunChunks(worker);
      if (state_.fetch_sub(kMember, std::memory_order_acq_rel) == kMember) state_.notify_one();
      break;
    }
  }
}

namespace internal {
namespace {

// First line of a file, empty if it cannot be read.
std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

int RoundedUp(double quota, double period) {
  if (quota <= 0 || period <= 0) return 0;
  return std::max(1, static_cast<int>((quota + period - 1) / period));
}

// cpu.max: "max 100000" or "150000 100000".
int QuotaV2(const std::string& folder) {
  std::istringstream line(FirstLine(folder + "/cpu.max"));
  double quota = 0, period = 0;
  return line >> quota >> period ? RoundedUp(quota, period) : 0;
}

int QuotaV1(const std::string& folder) {
  std::istringstream quota_line(FirstLine(folder + "/cpu.cfs_quota_us"));
  std::istringstream period_line(FirstLine(folder + "/cpu.cfs_period_us"));
  double quota = 0, period = 0;  // quota is -1 when unlimited
  return (quota_line >> quota) && (period_line >> period) ? RoundedUp(quota, period) : 0;
}

}  // namespace

int CgroupCpuQuota(const std::string& membership, const std::string& cgroup_root) {
  int tightest = 0;
  const auto tighten = [&](int quota) {
    if (quota > 0 && (tightest == 0 || quota < tightest)) tightest = quota;
  };
  std::istringstream lines(membership);
  std::string line;
  while (std::getline(lines, line)) {  // "hierarchy:controllers:path"
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool v2 = controllers == ",,";
    if (!v2 && controllers.find(",cpu,") == std::string::npos) continue;
    // A limit may sit on any ancestor. Inside a container the path may be that of the host and
    // absent here, but the container's own limit is then at the root.
    std::string path = line.substr(second + 1);
    while (true) {
      tighten(v2 ? QuotaV2(cgroup_root + path) : QuotaV1(cgroup_root + "/cpu" + path));
      if (path.empty()) break;
      path.resize(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
    }
  }
  return tightest;
}

}  // namespace internal

int AvailableCores() {
  int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
#ifdef __linux__
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = std::max(1, CPU_COUNT(&mask));
  std::ifstream file("/proc/self/cgroup");
  std::stringstream membership;
  membership << file.rdbuf();
  const int quota = internal::CgroupCpuQuota(membership.str(), "/sys/fs/cgroup");
  if (quota > 0) cores = std::min(cores, quota);
#endif
  return cores;
}

}  // namespace tessera
