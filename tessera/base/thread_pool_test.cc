#include "tessera/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

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

TEST(AvailableCoresTest, AtLeastOne) {
  EXPECT_GE(AvailableCores(), 1);
  EXPECT_EQ(ThreadPool(0).size(), AvailableCores());
}

class CgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "/cgroup_" +
            testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
  }
  void Write(const std::string& path, const std::string& text) {
    const std::string full = root_ + path;
    std::filesystem::create_directories(std::filesystem::path(full).parent_path());
    std::ofstream(full) << text;
  }
  std::string root_;
};

TEST_F(CgroupTest, Version2TakesTheTightestAncestorRoundedUp) {
  Write("/a/cpu.max", "350000 100000\n");
  Write("/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(internal::CgroupCpuQuota("0::/a/b\n", root_), 4);
  Write("/a/b/cpu.max", "150000 100000\n");
  EXPECT_EQ(internal::CgroupCpuQuota("0::/a/b\n", root_), 2);
  Write("/cpu.max", "20000 100000\n");
  EXPECT_EQ(internal::CgroupCpuQuota("0::/not/here\n", root_), 1);
}

TEST_F(CgroupTest, Version1ReadsTheCpuController) {
  Write("/cpu/c/cpu.cfs_quota_us", "300000\n");
  Write("/cpu/c/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(internal::CgroupCpuQuota("4:memory:/m\n1:cpu,cpuacct:/c\n", root_), 3);
  Write("/cpu/c/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(internal::CgroupCpuQuota("4:memory:/m\n1:cpu,cpuacct:/c\n", root_), 0);
}

TEST_F(CgroupTest, NoLimitWithoutFilesOrWithNonsense) {
  EXPECT_EQ(internal::CgroupCpuQuota("", root_), 0);
  EXPECT_EQ(internal::CgroupCpuQuota("garbage\n:\n::\n", root_), 0);
  Write("/cpu.max", "-5 0\n");
  EXPECT_EQ(internal::CgroupCpuQuota("0::/\n", root_), 0);
}

}  // namespace
}  // namespace tessera
