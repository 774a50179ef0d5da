#include "tessera/backend/gpu.h"

namespace tessera::backend {

GpuReport ExamineGpus(bool) { return {}; }

Result<std::unique_ptr<ops::Device>> MakeGpuDevice(std::string_view name) {
  TESSERA_ASSIGN_OR_RETURN(const int32_t ordinal, ParseGpuOrdinal(name));
  return CheckOrdinal({}, ordinal);
}

Result<double> MeasureGpuReadBandwidth(std::string_view name) {
  TESSERA_ASSIGN_OR_RETURN(const int32_t ordinal, ParseGpuOrdinal(name));
  return CheckOrdinal({}, ordinal);
}

}  // namespace tessera::backend
