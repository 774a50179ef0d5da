#include "tessera/ops/weight_rounding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace tessera::ops {
namespace {

// The nearest integer, ties to even, for |value| < 2^22: adding 1.5 * 2^23 leaves it in the low
// bits.
int32_t Nearest(float value) {
  constexpr float kRound = 12582912.0f;
  return std::bit_cast<int32_t>(value + kRound) - std::bit_cast<int32_t>(kRound);
}

template <typename T, typename Convert>
void ConvertRow(const std::byte* from, int64_t count, Convert convert, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    T value;  // files give no alignment
    std::memcpy(&value, from + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    out[i] = convert(value);
  }
}

void RowToFloats(const TensorView& tensor, int64_t row, float* out) {
  const int64_t in = tensor.shape[1];
  const std::byte* from = tensor.data + row * in * SizeOf(tensor.dtype);
  switch (tensor.dtype) {
    case DType::kF32: std::memcpy(out, from, static_cast<size_t>(in) * sizeof(float)); break;
    case DType::kF16: ConvertRow<uint16_t>(from, in, FloatFromF16, out); break;
    default: ConvertRow<uint16_t>(from, in, FloatFromBF16, out); break;
  }
}

// q = nearest((w - min) * inverse) within the codes of `bits` bits.
void Encode(std::span<const float> w, float min, float inverse, int bits, int8_t* q) {
  const int32_t top = (1 << (bits - 1)) - 1;
  const float low = static_cast<float>(-top - 1), high = static_cast<float>(top);
  for (size_t i = 0; i < w.size(); ++i) {
    q[i] = static_cast<int8_t>(Nearest(std::clamp((w[i] - min) * inverse, low, high)));
  }
}

}  // namespace

uint16_t StoredScale(float scale) { return F16FromFloat(scale / kScaleUnit); }
float ScaleValue(uint16_t stored) { return FloatFromF16(stored) * kScaleUnit; }

GroupCode RoundGroup(std::span<const float> w, const WeightFormat& format, int8_t* q) {
  const int bits = Bits(format.type);
  float low = 0, high = 0;  // zero is always representable
  bool finite = true;
  for (const float value : w) {
    low = std::min(low, value);
    high = std::max(high, value);
    finite = finite && std::abs(value) <= std::numeric_limits<float>::max();
  }
  std::fill_n(q, w.size(), int8_t{0});
  if (!finite) return {.scale = 0x7e00, .min = 0};
  const float largest = std::max(-low, high);
  float scale = 0, min = 0;
  if (!format.symmetric) {
    scale = (high - low) / static_cast<float>((1 << bits) - 1);
    min = low + scale * static_cast<float>(1 << (bits - 1));
  } else if (bits == 8) {
    scale = largest / 127;
  } else {
    scale = (high > -low ? -largest : largest) / 8;
  }
  const GroupCode code = {.scale = StoredScale(scale), .min = StoredScale(min)};
  const float stored = ScaleValue(code.scale);
  if (stored == 0 || std::isinf(stored)) return code;
  Encode(w, ScaleValue(code.min), 1 / stored, bits, q);
  return code;
}

bool KeepsCodes(const QuantizedLayout& layout, const WeightFormat& format) {
  if (format.type != WeightType::kInt8 && format.type != WeightType::kInt4) return false;
  if (layout.bits > Bits(format.type) || (format.symmetric && !layout.symmetric)) return false;
  if (layout.group == 0 || format.group == 0) return layout.group == 0;
  return layout.group % format.group == 0;
}

RowReader::RowReader(const WeightFormat& format, int64_t in)
    : format_(format),
      in_(in),
      group_(format.group > 0 ? format.group : in),
      floats_(static_cast<size_t>(in)),
      codes_(floats_.size()),
      scales_(floats_.size()),
      mins_(floats_.size()) {}

void RowReader::ReadQuantized(const QuantizedTensor& tensor, int64_t row) {
  tensor.ReadRow(row, codes_.data(), scales_.data(), mins_.data());
}

void RowReader::ReadFloats(const MatrixPart& part, int64_t row, float* out) {
  if (part.quantized == nullptr) {
    RowToFloats(part.floats, row, out);
    return;
  }
  ReadQuantized(*part.quantized, row);
  const int64_t group = part.quantized->layout().group > 0 ? part.quantized->layout().group : in_;
  for (int64_t begin = 0, g = 0; begin < in_; begin += group, ++g) {
    const int64_t end = std::min(in_, begin + group);
    for (int64_t k = begin; k < end; ++k) out[k] = scales_[g] * codes_[k] + mins_[g];
  }
}

void RowReader::ReadCodes(const MatrixPart& part, int64_t row, int8_t* q, GroupCode* groups) {
  if (part.quantized != nullptr && KeepsCodes(part.quantized->layout(), format_)) {
    const QuantizedLayout& layout = part.quantized->layout();
    ReadQuantized(*part.quantized, row);
    const int zero = 1 << (layout.bits - 1);
    for (int64_t k = 0; k < in_; ++k) q[k] = static_cast<int8_t>(codes_[k] - zero);
    for (int64_t g = 0; g < num_groups(); ++g) {
      const int64_t from = layout.group == 0 ? 0 : g * group_ / layout.group;
      const float min = mins_[from] + scales_[from] * static_cast<float>(zero);
      groups[g] = {.scale = StoredScale(scales_[from]),
                   .min = format_.symmetric ? uint16_t{0} : StoredScale(min)};
    }
    return;
  }
  ReadFloats(part, row, floats_.data());
  for (int64_t begin = 0, g = 0; begin < in_; begin += group_, ++g) {
    const auto size = static_cast<size_t>(std::min(group_, in_ - begin));
    groups[g] = RoundGroup(std::span(floats_).subspan(static_cast<size_t>(begin), size), format_,
                           q + begin);
  }
}

WeightFormat FormatFor(std::span<const MatrixPart> parts) {
  WeightFormat format = {.type = WeightType::kInt4, .group = 0, .symmetric = true};
  for (const MatrixPart& part : parts) {
    if (part.quantized == nullptr) {
      const DType dtype = part.floats.dtype;
      return {.type = dtype == DType::kBF16 ? WeightType::kBF16 : WeightType::kF32};
    }
    const QuantizedLayout& layout = part.quantized->layout();
    if (layout.bits > 4) format.type = WeightType::kInt8;
    if (!layout.symmetric) format.symmetric = false;
    if (layout.group == 0) continue;
    const int32_t group = layout.group % 128 == 0 ? 128 : layout.group % 64 == 0 ? 64 : 32;
    format.group = format.group == 0 ? group : std::min(format.group, group);
  }
  return format;
}

}  // namespace tessera::ops
