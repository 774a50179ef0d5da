#include "tessera/tensor/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>

namespace tessera {

std::string ToString(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

float FloatAt(const TensorView& tensor, int64_t index) {
  const std::byte* at = tensor.data + index * SizeOf(tensor.dtype);
  if (tensor.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  if (tensor.dtype == DType::kBF16) return FloatFromBF16(bits);
  TESSERA_CHECK(tensor.dtype == DType::kF16);
  return FloatFromF16(bits);
}

std::vector<float> ToFloats(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(NumElements(tensor.shape)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = FloatAt(tensor, static_cast<int64_t>(i));
  return values;
}

}  // namespace tessera
