#include "tessera/base/cpu_topology.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace tessera {
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

// "0-3,8,10-11"; stops at the first thing that is not such a list.
std::vector<int> ParseCpuList(const std::string& text) {
  constexpr int kMaxCpu = 1 << 16;  // a bound for nonsense
  std::vector<int> cpus;
  std::istringstream list(text);
  int first = 0;
  while (list >> first) {
    int last = first;
    if (list.peek() == '-' && !(list.ignore() >> last)) break;
    if (first < 0 || last < first || last >= kMaxCpu) break;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (list.peek() != ',') break;
    list.ignore();
  }
  return cpus;
}

// Ascending; {0, 1, ...} where the system has no affinity masks.
std::vector<int> AllowedCpus() {
  std::vector<int> cpus;
#ifdef __linux__
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
    }
  }
#endif
  if (cpus.empty()) {
    const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    for (int cpu = 0; cpu < cores; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace

namespace internal {

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

CpuTopology TopologyBelow(const std::string& node_root, const std::vector<int>& allowed) {
  std::vector<int> ids;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(node_root, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("node", 0) != 0 || name.size() == 4 || name.size() > 10) continue;
    if (name.find_first_not_of("0123456789", 4) != std::string::npos) continue;
    ids.push_back(std::stoi(name.substr(4)));
  }
  std::sort(ids.begin(), ids.end());
  CpuTopology topology;
  std::vector<int> rest = allowed;
  for (const int id : ids) {
    std::vector<int> cpus;
    const std::string path = node_root + "/node" + std::to_string(id) + "/cpulist";
    for (const int cpu : ParseCpuList(FirstLine(path))) {
      const auto found = std::find(rest.begin(), rest.end(), cpu);
      if (found == rest.end()) continue;  // not ours, or listed twice
      cpus.push_back(cpu);
      rest.erase(found);
    }
    std::sort(cpus.begin(), cpus.end());
    if (!cpus.empty()) topology.nodes.push_back(cpus);
  }
  if (!rest.empty()) topology.nodes.push_back(rest);
  return topology;
}

}  // namespace internal

int CpuTopology::num_cpus() const {
  size_t count = 0;
  for (const std::vector<int>& cpus : nodes) count += cpus.size();
  return static_cast<int>(count);
}

int AvailableCores() {
  int cores = static_cast<int>(AllowedCpus().size());
#ifdef __linux__
  std::ifstream file("/proc/self/cgroup");
  std::stringstream membership;
  membership << file.rdbuf();
  const int quota = internal::CgroupCpuQuota(membership.str(), "/sys/fs/cgroup");
  if (quota > 0) cores = std::min(cores, quota);
#endif
  return cores;
}

CpuTopology ReadCpuTopology() {
  return internal::TopologyBelow("/sys/devices/system/node", AllowedCpus());
}

std::vector<WorkerPlace> PlaceWorkers(const CpuTopology& topology, int workers) {
  std::vector<WorkerPlace> places;
  const int cpus = topology.num_cpus();
  int64_t before = 0;  // processors of the nodes so far
  for (size_t node = 0; node < topology.nodes.size(); ++node) {
    before += static_cast<int64_t>(topology.nodes[node].size());
    const int64_t end = (before * workers + cpus / 2) / cpus;  // all of them at the last node
    for (size_t i = 0; static_cast<int64_t>(places.size()) < end; ++i) {
      const bool own = workers == cpus;
      places.push_back({static_cast<int>(node), own ? topology.nodes[node][i] : -1});
    }
  }
  return places;
}

}  // namespace tessera
