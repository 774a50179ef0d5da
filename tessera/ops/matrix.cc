#include "tessera/ops/matrix.h"

#include <algorithm>

#include "tessera/ops/weight_rounding.h"

namespace tessera::ops {
namespace {

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

}  // namespace

Status CheckSource(const MatrixSource& source) {
  if (source.parts.empty()) return InvalidArgument("weight matrix has no parts");
  const WeightFormat& format = source.format;
  constexpr int32_t kGroups[] = {0, 32, 64, 128, 256};
  if (IsInteger(format.type) &&
      std::find(std::begin(kGroups), std::end(kGroups), format.group) == std::end(kGroups)) {
    return InvalidArgument("weight groups of {}: accepted: 32, 64, 128, 256, or 0 for all inputs",
                           format.group);
  }
  for (const MatrixPart& part : source.parts) {
    const Shape& shape = part.shape();
    if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1 ||
        shape[1] != source.parts[0].shape()[1]) {
      return InvalidArgument("weight matrix part has shape {}; accepted: [out, in] with one in",
                             ToString(shape));
    }
    if (part.quantized == nullptr && !IsFloat(part.floats.dtype)) {
      return InvalidArgument("weight matrix part has dtype {}; accepted: f32, f16, bf16",
                             Name(part.floats.dtype));
    }
  }
  return OkStatus();
}

}  // namespace tessera::ops
