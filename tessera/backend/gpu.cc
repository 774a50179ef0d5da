#include "tessera/backend/gpu.h"

#include <charconv>

namespace tessera::backend {
namespace {

constexpr int32_t kLowestCapability = 80;
constexpr double kGiB = 1 << 30;

std::string Capability(int32_t capability) {
  return fmt::format("{}.{}", capability / 10, capability % 10);
}
std::string Version(int32_t version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

Result<int32_t> ParseGpuOrdinal(std::string_view name) {
  if (name == "cuda") return 0;
  constexpr std::string_view kPrefix = "cuda:";
  int32_t ordinal = -1;
  if (name.starts_with(kPrefix)) {
    const std::string_view digits = name.substr(kPrefix.size());
    const char* end = digits.data() + digits.size();
    const auto [rest, error] = std::from_chars(digits.data(), end, ordinal);
    if (error == std::errc() && rest == end && ordinal >= 0) return ordinal;
  }
  return InvalidArgument("device: \"{}\" is no GPU; expected \"cuda\" or \"cuda:N\", N from 0 on",
                         name);
}

std::vector<std::string> Describe(const GpuReport& report) {
  if (!report.compiled) return {"cuda: this build has no CUDA backend"};
  if (report.gpus.empty()) return {fmt::format("cuda: no GPU: {}", report.problem)};
  std::vector<std::string> lines;
  for (const GpuInfo& gpu : report.gpus) {
    std::string line = fmt::format("cuda:{}: {}", gpu.ordinal, gpu.name);
    if (gpu.free_bytes >= 0) {
      line += fmt::format(", {:.1f} of {:.1f} GiB free", static_cast<double>(gpu.free_bytes) / kGiB,
                          static_cast<double>(gpu.memory_bytes) / kGiB);
    } else {
      line += fmt::format(", {:.1f} GiB", static_cast<double>(gpu.memory_bytes) / kGiB);
    }
    line += fmt::format(", up to {:.0f} GB/s, {} multiprocessors at {} MHz, capability {}",
                        gpu.memory_bandwidth() / 1e9, gpu.multiprocessors, gpu.clock_mhz,
                        Capability(gpu.capability));
    if (gpu.capability < kLowestCapability) {
      line += fmt::format(" (unusable: {} is needed)", Capability(kLowestCapability));
    }
    lines.push_back(line);
  }
  lines.push_back(fmt::format("driver for CUDA {}, built with {}", Version(report.driver),
                              Version(report.runtime)));
  return lines;
}

Status CheckOrdinal(const GpuReport& report, int32_t ordinal) {
  if (!report.compiled) {
    return Unimplemented(
        "device \"cuda:{}\": this build has no CUDA backend; use device \"cpu\", or build where "
        "there is a CUDA toolkit",
        ordinal);
  }
  if (report.gpus.empty()) {
    return NotFound("device \"cuda:{}\": this build has CUDA, but no GPU can be used: {}", ordinal,
                    report.problem);
  }
  std::string names;
  for (const GpuInfo& gpu : report.gpus) {
    if (gpu.ordinal == ordinal) {
      if (gpu.capability >= kLowestCapability) return OkStatus();
      return Unimplemented("device \"cuda:{}\": {} has compute capability {}; accepted: {} and up",
                           ordinal, gpu.name, Capability(gpu.capability),
                           Capability(kLowestCapability));
    }
    names += fmt::format("{}\"cuda:{}\" ({})", names.empty() ? "" : ", ", gpu.ordinal, gpu.name);
  }
  return NotFound("device \"cuda:{}\": there is no such GPU; there are: {}", ordinal, names);
}

}  // namespace tessera::backend
