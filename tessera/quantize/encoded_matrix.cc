#include "tessera/quantize/encoded_matrix.h"

#include <algorithm>
#include <cstring>

#include "tessera/formats/quantized_checkpoint.h"
#include "tessera/formats/quantized_codes.h"

namespace tessera::quantize {
namespace {

int64_t BytesOf(int64_t out, int64_t in, const QuantizedLayout& layout) {
  const int64_t values = out * layout.NumGroups(in) * (layout.symmetric ? 1 : 2);
  return out * CodeRowBytes(in, layout.bits) + values * SizeOf(ScaleType(layout));
}

}  // namespace

DType ScaleType(const QuantizedLayout& layout) {
  return layout.group == 0 ? DType::kF32 : DType::kBF16;
}

float RoundScale(float value, const QuantizedLayout& layout) {
  return ScaleType(layout) == DType::kF32 ? value : FloatFromBF16(BF16FromFloat(value));
}

EncodedMatrix::EncodedMatrix(int64_t out, int64_t in, const QuantizedLayout& layout)
    : QuantizedTensor({out, in}, layout, LayoutName(layout), BytesOf(out, in, layout)),
      groups_(layout.NumGroups(in)),
      row_bytes_(CodeRowBytes(in, layout.bits)),
      codes_(static_cast<size_t>(out * row_bytes_)),
      scales_(static_cast<size_t>(out * groups_)),
      mins_(layout.symmetric ? 0 : scales_.size()) {}

void EncodedMatrix::SetRow(int64_t row, std::span<const uint8_t> codes,
                           std::span<const float> scales, std::span<const float> mins) {
  PackCodeRow(codes, layout().bits, &codes_[static_cast<size_t>(row * row_bytes_)]);
  std::copy(scales.begin(), scales.end(), scales_.begin() + row * groups_);
  if (!layout().symmetric) std::copy(mins.begin(), mins.end(), mins_.begin() + row * groups_);
}

void EncodedMatrix::ReadRow(int64_t row, uint8_t* codes, float* scales, float* mins) const {
  UnpackCodeRow(&codes_[static_cast<size_t>(row * row_bytes_)], layout().bits,
                {codes, static_cast<size_t>(shape()[1])});
  const float zero = static_cast<float>(1 << (layout().bits - 1));
  for (int64_t g = 0; g < groups_; ++g) {
    const size_t at = static_cast<size_t>(row * groups_ + g);
    scales[g] = scales_[at];
    mins[g] = layout().symmetric ? -zero * scales_[at] : mins_[at];
  }
}

void EncodedMatrix::Dequantize(int64_t row, std::span<float> weights) const {
  const int64_t in = shape()[1], group = layout().group > 0 ? layout().group : in;
  std::vector<uint8_t> codes(static_cast<size_t>(in));
  std::vector<float> scales(static_cast<size_t>(groups_)), mins(scales.size());
  ReadRow(row, codes.data(), scales.data(), mins.data());
  for (int64_t k = 0; k < in; ++k) {
    const size_t g = static_cast<size_t>(k / group);
    weights[k] = scales[g] * codes[static_cast<size_t>(k)] + mins[g];
  }
}

std::vector<std::byte> EncodedMatrix::Store(std::span<const float> values) const {
  std::vector<std::byte> bytes(values.size() * static_cast<size_t>(SizeOf(ScaleType(layout()))));
  if (ScaleType(layout()) == DType::kF32) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t word = BF16FromFloat(values[i]);
    std::memcpy(&bytes[2 * i], &word, sizeof word);
  }
  return bytes;
}

}  // namespace tessera::quantize
