#include "tessera/backend/registry.h"

#include "tessera/backend/cpu/cpu_device.h"
#include "tessera/backend/cpu/isa.h"
#include "tessera/backend/gpu.h"
#include "tessera/ops/ref/ref_device.h"

namespace tessera::backend {

Result<std::unique_ptr<ops::Device>> MakeDevice(const DeviceOptions& options) {
  if (options.threads < 0 || options.threads > 1024) {
    return InvalidArgument("threads: {} is out of range; expected 0 (one per core) to 1024",
                           options.threads);
  }
  const std::string_view name = options.name;
  if (name == "cpu") {
    TESSERA_ASSIGN_OR_RETURN(const cpu::Isa isa, cpu::ParseIsa(options.isa));
    return cpu::MakeCpuDevice(isa, options.threads);
  }
  if (name == "ref") return ops::ref::MakeRefDevice();
  if (name == "cuda" || name.starts_with("cuda:")) return MakeGpuDevice(name);
  return InvalidArgument("device: \"{}\" is unknown; expected \"cpu\", \"cuda:N\" or \"ref\"",
                         name);
}

std::vector<std::string> AvailableIsas() {
  std::vector<std::string> names;
  for (const cpu::Isa isa : cpu::AvailableIsas()) names.emplace_back(cpu::Name(isa));
  return names;
}

}  // namespace tessera::backend
