// Which processors this process may run on, which memory node each belongs to, and how many of them
// it may keep busy. Read from the kernel's file systems; anything unreadable counts as one node.
#pragma once

#include <string>
#include <vector>

namespace tessera {

// Cores this process may keep busy: the affinity mask, cut down to the CPU quota of its cgroup
// (v1 or v2, rounded up). At least 1.
int AvailableCores();

// The processors of the affinity mask, by memory node; nodes without any are left out.
struct CpuTopology {
  std::vector<std::vector<int>> nodes;  // processor ids, ascending; no node is empty

  int num_cpus() const;
};
CpuTopology ReadCpuTopology();

// Where a worker belongs. Workers of a node are neighbours in number, so that a contiguous share of
// a matrix is a contiguous run of workers and lies in one node's memory.
struct WorkerPlace {
  int node = 0;  // index into CpuTopology::nodes
  int cpu = -1;  // its own processor; -1 unless there is one for every worker
};

// Divides `workers` among the nodes in proportion to their processors.
std::vector<WorkerPlace> PlaceWorkers(const CpuTopology& topology, int workers);

namespace internal {

// CPU quota in cores (rounded up) that the cgroup file system below `cgroup_root` sets for the
// process whose /proc/self/cgroup reads `membership`; 0 if none.
int CgroupCpuQuota(const std::string& membership, const std::string& cgroup_root);

// The topology that `node_root` (/sys/devices/system/node) describes, cut down to `allowed`
// (ascending). Allowed processors that no node lists form a node of their own.
CpuTopology TopologyBelow(const std::string& node_root, const std::vector<int>& allowed);

}  // namespace internal
}  // namespace tessera
