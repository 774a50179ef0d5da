#include "tessera/base/cpu_topology.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>

namespace tessera {
namespace {

TEST(AvailableCoresTest, AtLeastOne) { EXPECT_GE(AvailableCores(), 1); }

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

class TopologyTest : public CgroupTest {
 protected:
  using Nodes = std::vector<std::vector<int>>;
  Nodes Read(const std::vector<int>& allowed) {
    return internal::TopologyBelow(root_, allowed).nodes;
  }
  static std::vector<int> Range(int end) {
    std::vector<int> cpus(static_cast<size_t>(end));
    std::iota(cpus.begin(), cpus.end(), 0);
    return cpus;
  }
};

TEST_F(TopologyTest, ReadsNodesInNumericOrderWithinTheMask) {
  Write("/node0/cpulist", "0-3,8-11\n");
  Write("/node2/cpulist", "4-7\n");
  Write("/node10/cpulist", "12,14\n");
  Write("/node5/cpulist", "\n");  // memory without processors
  Write("/online", "0-10\n");
  Write("/nodes/cpulist", "0\n");
  EXPECT_EQ(Read(Range(16)), (Nodes{{0, 1, 2, 3, 8, 9, 10, 11}, {4, 5, 6, 7}, {12, 14}, {13, 15}}));
  EXPECT_EQ(Read({2, 9, 12}), (Nodes{{2, 9}, {12}}));
}

TEST_F(TopologyTest, AnythingUnreadableIsOneNode) {
  EXPECT_EQ(Read({0, 1}), (Nodes{{0, 1}}));
  Write("/node0/cpulist", "nonsense\n");
  EXPECT_EQ(Read({0, 1}), (Nodes{{0, 1}}));
  Write("/node0/cpulist", "1-0,-3,999999999999\n");
  EXPECT_EQ(Read({0, 1}), (Nodes{{0, 1}}));
  Write("/node0/cpulist", "0-99999999\n");
  EXPECT_EQ(Read({0, 1}), (Nodes{{0, 1}}));
  Write("/node0/cpulist", "0,0,0\n");
  Write("/node1/cpulist", "0-1\n");  // each processor belongs to the first node that lists it
  EXPECT_EQ(Read({0, 1}), (Nodes{{0}, {1}}));
}

TEST_F(TopologyTest, HereEveryAllowedProcessorHasANode) {
  EXPECT_GE(ReadCpuTopology().num_cpus(), AvailableCores());
}

TEST(PlaceWorkersTest, OneProcessorEachWhenThereAreAsMany) {
  const auto places = PlaceWorkers({.nodes = {{0, 2}, {1, 3}}}, 4);
  ASSERT_EQ(places.size(), 4u);
  const int nodes[] = {0, 0, 1, 1}, cpus[] = {0, 2, 1, 3};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(places[i].node, nodes[i]);
    EXPECT_EQ(places[i].cpu, cpus[i]);
  }
}

TEST(PlaceWorkersTest, DividesInProportionAndKeepsNodesTogether) {
  const CpuTopology topology{.nodes = {{0, 1, 2, 3, 4, 5}, {6, 7}}};
  for (const int workers : {1, 2, 3, 4, 5, 7, 9, 64}) {
    const auto places = PlaceWorkers(topology, workers);
    ASSERT_EQ(places.size(), static_cast<size_t>(workers));
    int of_first = 0;
    for (int i = 0; i < workers; ++i) {
      EXPECT_EQ(places[i].cpu, -1);
      EXPECT_GE(places[i].node, places[std::max(0, i - 1)].node);
      of_first += places[i].node == 0 ? 1 : 0;
    }
    EXPECT_NEAR(of_first, 0.75 * workers, 0.5);
  }
}

}  // namespace
}  // namespace tessera
