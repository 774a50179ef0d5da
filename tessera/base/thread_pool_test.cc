#include "tessera/base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#ifdef __linux__
#include <pthread.h>
#include <sched.h>

#include <ctime>
#endif

namespace tessera {
namespace {

TEST(ThreadPoolTest, CoversEveryIndexOnceInMultiplesOfTheGrain) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const int64_t n : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {1, 2, 5, 64, 5000}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
        std::atomic<bool> ok = true;
        pool.ParallelFor(n, grain, [&](int64_t begin, int64_t end, int worker) {
          if (begin % grain != 0 || (end % grain != 0 && end != n) || begin >= end) ok = false;
          if (worker < 0 || worker >= threads) ok = false;
          for (int64_t i = begin; i < end; ++i) hits[i].fetch_add(1);
        });
        EXPECT_TRUE(ok);
        for (const auto& hit : hits) ASSERT_EQ(hit.load(), 1);
      }
    }
  }
}

// Plain, unsynchronised per-worker and per-index data: under TSan this proves both the exclusive
// use of a worker index and that results are visible to the caller.
TEST(ThreadPoolTest, WorkerScratchNeedsNoLocks) {
  ThreadPool pool(4);
  std::vector<int64_t> sums(4), values(1000);
  for (int round = 0; round < 2000; ++round) {
    pool.ParallelFor(1000, 10, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t i = begin; i < end; ++i) {
        sums[worker] += i;
        values[i] = round + i;
      }
    });
    ASSERT_EQ(values[999], round + 999);
  }
  int64_t total = 0;
  for (const int64_t sum : sums) total += sum;
  EXPECT_EQ(total, int64_t{2000} * 999 * 1000 / 2);
}

TEST(ThreadPoolTest, WorkersDoHelp) {
  ThreadPool pool(2);
  std::atomic<int> helped = 0;
  // The caller's chunks wait for the other worker, so this ends only if it joins.
  pool.ParallelFor(2, 1, [&](int64_t, int64_t, int worker) {
    if (worker == 1) helped = 1;
    while (helped.load() == 0) std::this_thread::yield();
  });
  EXPECT_EQ(helped, 1);
}

TEST(ThreadPoolTest, NestedCallsRunInlineWithTheSameWorker) {
  ThreadPool pool(3);
  std::atomic<int64_t> count = 0;
  std::atomic<bool> ok = true;
  pool.ParallelFor(8, 1, [&](int64_t, int64_t, int outer) {
    pool.ParallelFor(100, 1, [&](int64_t begin, int64_t end, int inner) {
      if (inner != outer || begin != 0 || end != 100) ok = false;
      count += end - begin;
    });
  });
  EXPECT_TRUE(ok);
  EXPECT_EQ(count, 800);
}

TEST(ThreadPoolTest, CallsFromSeveralThreadsAllComplete) {
  ThreadPool pool(2);
  std::atomic<int64_t> count = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        pool.ParallelFor(50, 1, [&](int64_t begin, int64_t end, int) { count += end - begin; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(count, 4 * 200 * 50);
}

TEST(ThreadPoolTest, WakesParkedWorkersAndShutsDown) {
  for (int round = 0; round < 20; ++round) {
    auto pool = std::make_unique<ThreadPool>(4);
    std::this_thread::sleep_for(std::chrono::milliseconds(round % 3));
    std::atomic<int64_t> count = 0;
    pool->ParallelFor(100, 1, [&](int64_t begin, int64_t end, int) { count += end - begin; });
    EXPECT_EQ(count, 100);
  }
}

// Home ranges: what NUMA placement rests on.
TEST(ThreadPoolTest, HomeRangesTileTheLoopInOrderAndGiveTheCallerTheFirstGrain) {
  for (const int threads : {1, 2, 3, 7, 64}) {
    ThreadPool pool(ThreadPoolOptions{.threads = threads});
    for (const int64_t n : {1, 2, 63, 64, 1000, 7904}) {
      for (const int64_t grain : {1, 2, 5, 4096}) {
        int64_t at = 0, longest = 0, shortest = n;
        for (int worker = 0; worker < threads; ++worker) {
          const auto [begin, end] = pool.HomeRange(n, grain, worker);
          ASSERT_EQ(begin, at);
          ASSERT_LE(begin, end);
          ASSERT_TRUE(begin % grain == 0 || begin == n);
          longest = std::max(longest, end - begin);
          shortest = std::min(shortest, end - begin);
          at = end;
        }
        ASSERT_EQ(at, n);
        ASSERT_GE(pool.HomeRange(n, grain, 0).second, std::min(n, grain));
        ASSERT_LE(longest - shortest, 2 * grain);
      }
    }
  }
}

// Every worker waits in its first call until all have made theirs, so nobody can steal meanwhile.
TEST(ThreadPoolTest, WorkersBeginAtHomeAndTheSameRangeReturnsToThem) {
  constexpr int kThreads = 4;
  constexpr int64_t kN = 64;
  ThreadPool pool(kThreads);
  for (int round = 0; round < 20; ++round) {
    std::vector<int64_t> first(kThreads, -1);
    std::atomic<int> arrived = 0;
    pool.ParallelFor(kN, 2, [&](int64_t begin, int64_t, int worker) {
      if (first[worker] >= 0) return;
      first[worker] = begin;
      ++arrived;
      while (arrived.load() < kThreads) std::this_thread::yield();
    });
    for (int worker = 0; worker < kThreads; ++worker) {
      EXPECT_EQ(first[worker], pool.HomeRange(kN, 2, worker).first);
    }
  }
}

// Two made-up nodes of two processors. Worker 1 (node 0) is done at once while the others are held
// up: what it takes over first must be of its own node.
TEST(ThreadPoolTest, StealsFromItsOwnNodeFirst) {
  ThreadPool pool(ThreadPoolOptions{.threads = 4, .topology = {.nodes = {{0, 1}, {2, 3}}}});
  constexpr int64_t kN = 400;
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> arrived = 0;
    std::atomic<bool> release = false;
    std::vector<int64_t> taken;  // by worker 1, in order
    std::vector<char> came(4);
    pool.ParallelFor(kN, 1, [&](int64_t begin, int64_t, int worker) {
      if (!came[worker]) {
        came[worker] = 1;
        ++arrived;
        while (arrived.load() < 4) std::this_thread::yield();
      }
      if (worker != 1) {
        while (!release.load()) std::this_thread::yield();
        return;
      }
      taken.push_back(begin);
      if (begin >= pool.HomeRange(kN, 1, 2).first) release = true;  // it has left its node
    });
    const auto [home_begin, home_end] = pool.HomeRange(kN, 1, 1);
    size_t i = 0;
    while (i < taken.size() && taken[i] >= home_begin && taken[i] < home_end) ++i;
    ASSERT_GT(i, 0u);
    ASSERT_LT(i, taken.size());
    EXPECT_LT(taken[i], home_begin) << "worker 0's range comes before those of node 1";
    while (i < taken.size() && taken[i] < home_begin) ++i;
    ASSERT_LT(i, taken.size());
    EXPECT_GE(taken[i], home_end);
  }
}

TEST(ThreadPoolTest, WorksWithMoreThreadsThanCores) {
  const int threads = 4 * AvailableCores() + 1;
  ThreadPool pool(threads);
  std::vector<int64_t> sums(static_cast<size_t>(threads));
  for (int round = 0; round < 300; ++round) {
    pool.ParallelFor(1000, 3, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t i = begin; i < end; ++i) sums[worker] += i;
    });
  }
  int64_t total = 0;
  for (const int64_t sum : sums) total += sum;
  EXPECT_EQ(total, int64_t{300} * 999 * 1000 / 2);
}

#ifdef __linux__
cpu_set_t AffinityOfThisThread() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  pthread_getaffinity_np(pthread_self(), sizeof(mask), &mask);
  return mask;
}

TEST(ThreadPoolTest, BindsWorkersButNeverTheCaller) {
  const cpu_set_t before = AffinityOfThisThread();
  const int cpus = CPU_COUNT(&before);
  if (cpus < 2) GTEST_SKIP() << "needs two processors";
  for (const Binding binding : {Binding::kNone, Binding::kNode, Binding::kCore}) {
    ThreadPool pool(ThreadPoolOptions{.threads = cpus, .binding = binding});
    std::vector<cpu_set_t> masks(static_cast<size_t>(cpus), before);
    std::atomic<int> arrived = 0;
    pool.ParallelFor(cpus, 1, [&](int64_t, int64_t, int worker) {
      masks[worker] = AffinityOfThisThread();
      ++arrived;
      while (arrived.load() < cpus) std::this_thread::yield();
    });
    EXPECT_TRUE(CPU_EQUAL(&masks[0], &before));
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int worker = 1; worker < cpus; ++worker) {
      const int count = CPU_COUNT(&masks[worker]);
      EXPECT_EQ(count == 1, binding == Binding::kCore) << count;
      CPU_OR(&all, &all, &masks[worker]);
    }
    EXPECT_EQ(CPU_COUNT(&all) == cpus - 1, binding == Binding::kCore) << "one processor each";
    const cpu_set_t after = AffinityOfThisThread();
    EXPECT_TRUE(CPU_EQUAL(&after, &before));
  }
}

// Idle costs nothing: 200 ms of an idle pool of two take far less than 200 ms of processor time.
TEST(ThreadPoolTest, IdleWorkersSleep) {
  ThreadPool pool(2);
  pool.ParallelFor(2, 1, [](int64_t, int64_t, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto cpu_seconds = [] {
    timespec time = {};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(cpu_seconds() - start, 0.02);
}
#endif

}  // namespace
}  // namespace tessera
