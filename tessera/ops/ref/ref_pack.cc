// Weight rounding of the reference: what a packed matrix means, without any packing.
#include <algorithm>
#include <cmath>
#include <utility>

#include "tessera/ops/ref/ref_ops.h"

namespace tessera::ops::ref {
namespace {

// Rounds one group of an output feature to `levels` integers with one scale, in place.
//   symmetric:  q in [-levels/2 + 1, levels/2 - 1], w ~ q * scale
//   asymmetric: q in [0, levels - 1],               w ~ (q - zero) * scale
void RoundGroup(std::span<float> group, int levels, bool symmetric) {
  const auto [low, high] = std::minmax_element(group.begin(), group.end());
  if (symmetric) {
    const float limit = static_cast<float>(levels / 2 - 1);
    const float scale = std::max(std::fabs(*low), std::fabs(*high)) / limit;
    if (scale == 0) return;
    for (float& w : group) w = std::clamp(std::nearbyint(w / scale), -limit, limit) * scale;
  } else {
    const float limit = static_cast<float>(levels - 1);
    const float bottom = std::min(*low, 0.0f), top = std::max(*high, 0.0f);
    const float scale = (top - bottom) / limit;
    if (scale == 0) return;
    const float zero = std::clamp(std::nearbyint(-bottom / scale), 0.0f, limit);
    for (float& w : group) {
      w = (std::clamp(std::nearbyint(w / scale) + zero, 0.0f, limit) - zero) * scale;
    }
  }
}

void AppendDequantized(const QuantizedTensor& tensor, std::vector<float>* values) {
  const int64_t in = tensor.shape()[1], groups = tensor.layout().NumGroups(in);
  const int64_t group = tensor.layout().group > 0 ? tensor.layout().group : in;
  std::vector<uint8_t> codes(static_cast<size_t>(in));
  std::vector<float> scales(static_cast<size_t>(groups)), mins(static_cast<size_t>(groups));
  for (int64_t row = 0; row < tensor.shape()[0]; ++row) {
    tensor.ReadRow(row, codes.data(), scales.data(), mins.data());
    for (int64_t k = 0; k < in; ++k) {
      const size_t g = static_cast<size_t>(k / group);
      values->push_back(scales[g] * codes[static_cast<size_t>(k)] + mins[g]);
    }
  }
}

}  // namespace

Result<std::unique_ptr<RefMatrix>> Pack(const MatrixSource& source) {
  if (source.parts.empty()) return InvalidArgument("pack: no tensors to stack");
  int64_t out = 0, in = -1;
  std::vector<float> values;
  for (const auto& [part, quantized] : source.parts) {
    if (quantized != nullptr) {
      AppendDequantized(*quantized, &values);
      out += quantized->shape()[0];
      in = quantized->shape()[1];
      continue;
    }
    if (part.shape.size() != 2 || (in >= 0 && part.shape[1] != in)) {
      return InvalidArgument("pack: shape {} cannot be stacked; expected [any, {}]",
                             ToString(part.shape), in >= 0 ? fmt::to_string(in) : "in");
    }
    if (part.dtype != DType::kF32 && part.dtype != DType::kF16 && part.dtype != DType::kBF16) {
      return InvalidArgument("pack: dtype {} is not a weight type; expected f32, f16 or bf16",
                             Name(part.dtype));
    }
    out += part.shape[0];
    in = part.shape[1];
    const std::vector<float> converted = ToFloats(part);
    values.insert(values.end(), converted.begin(), converted.end());
  }
  const WeightFormat& format = source.format;
  if (format.type == WeightType::kBF16) {
    for (float& w : values) w = FloatFromBF16(BF16FromFloat(w));
  } else if (format.type != WeightType::kF32) {
    const int64_t group = format.group > 0 ? format.group : in;
    const int levels = format.type == WeightType::kInt8 ? 256 : 16;
    for (int64_t row = 0; row < out; ++row) {
      for (int64_t begin = 0; begin < in; begin += group) {
        const int64_t size = std::min(group, in - begin);
        RoundGroup(std::span(values).subspan(row * in + begin, size), levels, format.symmetric);
      }
    }
  }
  return std::make_unique<RefMatrix>(out, in, format, std::move(values));
}

}  // namespace tessera::ops::ref
