#include "tessera/backend/machine.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "tessera/backend/cpu/isa.h"
#include "tessera/backend/cpu/rates.h"
#include "tessera/base/thread_pool.h"
#include "tessera/tensor/tensor.h"

namespace tessera::backend {
namespace {

// Larger than any last-level cache of the machines we know, small enough for a laptop.
constexpr int64_t kProbeBytes = int64_t{1280} << 20;

// The value of the first line of `path` that begins with `key`, after the colon.
std::string ReadField(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

}  // namespace

int64_t TotalMemory() { return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE); }

int64_t AvailableMemory() {
  return std::atoll(ReadField("/proc/meminfo", "MemAvailable").c_str()) * 1024;
}

BandwidthProbe::BandwidthProbe(int threads, bool small)
    : pool_(threads), buffer_(static_cast<size_t>(small ? int64_t{16} << 20 : kProbeBytes)) {
  // Huge pages, as packed weights have them: a hint, for whole pages.
  constexpr uintptr_t kPage = 4096;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(buffer_.data()) + kPage - 1) / kPage * kPage;
  madvise(reinterpret_cast<void*>(begin), buffer_.bytes() - kPage, MADV_HUGEPAGE);
  std::fill_n(buffer_.as<uint64_t>(), buffer_.bytes() / 8, uint64_t{0x0123456789abcdef});
}

double BandwidthProbe::Measure() {
  return cpu::ReadBandwidth(buffer_.data(), static_cast<int64_t>(buffer_.bytes()), pool_);
}

Machine ExamineMachine() {
  Machine machine;
  machine.cpu = ReadField("/proc/cpuinfo", "model name");
  machine.cores = ThreadPool(0).size();
  machine.memory_bytes = TotalMemory();
  machine.available_bytes = AvailableMemory();

  if (kProbeBytes <= machine.available_bytes / 4) {
    machine.read_bandwidth_one = BandwidthProbe(1).Measure();
    machine.read_bandwidth_all = BandwidthProbe(machine.cores).Measure();
  }
  for (const cpu::Isa isa : cpu::AvailableIsas()) {
    const std::string name(cpu::Name(isa));
    machine.isas.push_back(name);
    machine.gflops.emplace_back(name + " f32", cpu::PeakF32(isa) * machine.cores / 1e9);
    machine.gflops.emplace_back(name + " bf16", cpu::PeakBF16(isa) * machine.cores / 1e9);
    const double int8 = cpu::PeakInt8(isa);
    if (int8 > 0) machine.gflops.emplace_back(name + " int8", int8 * machine.cores / 1e9);
  }
  return machine;
}

}  // namespace tessera::backend
