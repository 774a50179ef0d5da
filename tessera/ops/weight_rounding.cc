#include "tessera/ops/weight_rounding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tessera/tensor/f8.h"

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

bool AllFinite(std::span<const float> w) {
  float largest = 0;
  bool finite = true;
  for (const float value : w) {
    largest = std::max(largest, std::abs(value));
    finite = finite && std::abs(value) <= std::numeric_limits<float>::max();
  }
  return finite;
}

constexpr uint16_t kStoredNaN = 0x7e00;

}  // namespace

uint16_t StoredScale(float scale) { return F16FromFloat(scale / kScaleUnit); }
float ScaleValue(uint16_t stored) { return FloatFromF16(stored) * kScaleUnit; }

int64_t SegmentOf(const WeightFormat& format) {
  const bool fine = format.type == WeightType::kInt8 && format.group != 0;
  return fine ? format.group : kSegment;
}

int64_t GroupOf(const WeightFormat& format) {
  return format.group == 0 || format.type == WeightType::kInt8 ? kSegment : format.group;
}

RowReader::RowReader(const WeightFormat& format, int64_t in)
    : format_(format),
      in_(in),
      floats_(static_cast<size_t>(in)),
      codes_(floats_.size()),
      scales_(floats_.size()),
      mins_(floats_.size()) {
  if (!IsInteger(format.type)) return;
  const auto count = [&](int64_t size) { return static_cast<size_t>((in + size - 1) / size); };
  row_.codes.resize(floats_.size());
  row_.scales.resize(count(SegmentOf(format)));
  if (format.type == WeightType::kInt8) return;
  groups_.resize(count(GroupOf(format)));
  row_.ratios.resize(groups_.size());
  row_.offsets.resize(groups_.size());
}

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

const CodedRow& RowReader::ReadCodes(const MatrixPart& part, int64_t row) {
  const bool keep = part.quantized != nullptr && KeepsCodes(part.quantized->layout(), format_);
  if (!keep) {
    ReadFloats(part, row, floats_.data());
    if (format_.type == WeightType::kInt8) {
      CodeInt8();
    } else {
      ChooseInt4Groups();
      CodeInt4(/*keep_codes=*/false);
    }
    return row_;
  }
  const QuantizedLayout& layout = part.quantized->layout();
  ReadQuantized(*part.quantized, row);
  const int zero = 1 << (layout.bits - 1);
  // Locals: stores of bytes could change anything that members point to, once per byte.
  const auto* const stored = codes_.data();
  int8_t* const codes = row_.codes.data();
  const int64_t count = in_;
  for (int64_t k = 0; k < count; ++k) codes[k] = static_cast<int8_t>(stored[k] - zero);
  if (format_.type == WeightType::kInt8) {
    KeepInt8(layout);
    return row_;
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int64_t from =
        layout.group == 0 ? 0 : static_cast<int64_t>(g) * GroupOf(format_) / layout.group;
    groups_[g] = {.scale = scales_[from],
                  .center = mins_[from] + scales_[from] * static_cast<float>(zero)};
  }
  CodeInt4(/*keep_codes=*/true);
  return row_;
}

void RowReader::KeepInt8(const QuantizedLayout& layout) {
  for (size_t s = 0; s < row_.scales.size(); ++s) {
    const int64_t from =
        layout.group == 0 ? 0 : static_cast<int64_t>(s) * SegmentOf(format_) / layout.group;
    row_.scales[s] = StoredScale(scales_[from]);
  }
}

void RowReader::CodeInt8() {
  const int64_t segment = SegmentOf(format_), group = format_.group == 0 ? in_ : segment;
  for (int64_t begin = 0; begin < in_; begin += group) {
    const int64_t end = std::min(in_, begin + group);
    const std::span<const float> w(floats_.data() + begin, static_cast<size_t>(end - begin));
    float largest = 0;
    for (const float value : w) largest = std::max(largest, std::abs(value));
    const uint16_t stored = AllFinite(w) ? StoredScale(largest / 127) : kStoredNaN;
    for (int64_t s = begin / segment; s * segment < end; ++s) row_.scales[s] = stored;
    const float scale = ScaleValue(stored);
    const float inverse = scale > 0 && std::isfinite(scale) ? 1 / scale : 0;
    for (int64_t k = begin; k < end; ++k) {
      const float value = inverse == 0 ? 0 : floats_[k] * inverse;
      row_.codes[k] = static_cast<int8_t>(Nearest(std::clamp(value, -127.0f, 127.0f)));
    }
  }
}

void RowReader::ChooseInt4Groups() {
  const int64_t group = format_.group == 0 ? in_ : format_.group, step = GroupOf(format_);
  for (int64_t begin = 0; begin < in_; begin += group) {
    const int64_t end = std::min(in_, begin + group);
    float low = 0, high = 0;
    for (int64_t k = begin; k < end; ++k) {
      low = std::min(low, floats_[k]);
      high = std::max(high, floats_[k]);
    }
    Group choice;
    if (format_.symmetric) {
      choice.scale = (high > -low ? -high : -low) / 8;
    } else {
      choice.scale = (high - low) / 15;
      choice.center = low + 8 * choice.scale;
    }
    for (int64_t g = begin / step; g * step < end; ++g) groups_[g] = choice;
  }
}

void RowReader::CodeInt4(bool keep_codes) {
  constexpr float kUnit = 2.0f / 15;
  const int64_t group = GroupOf(format_);
  for (int64_t begin = 0; begin < in_; begin += kSegment) {
    const int64_t end = std::min(in_, begin + kSegment);
    const int64_t first = begin / group, last = (end + group - 1) / group;
    float largest = 0;
    bool finite =
        keep_codes || AllFinite({floats_.data() + begin, static_cast<size_t>(end - begin)});
    for (int64_t g = first; g < last; ++g) {
      const auto [scale, center] = groups_[g];
      // The last one keeps ratio * q within a byte before the offset is added.
      largest = std::max({largest, std::abs(center - 8 * scale), std::abs(center + 7 * scale),
                          std::abs(8 * scale)});
    }
    const uint16_t stored = finite ? StoredScale(largest / 127) : kStoredNaN;
    row_.scales[begin / kSegment] = stored;
    const float scale = ScaleValue(stored);
    const float inverse = scale > 0 && std::isfinite(scale) ? 1 / scale : 0;
    for (int64_t g = first; g < last; ++g) {
      const auto byte = [&](float value) {
        return static_cast<int8_t>(Nearest(std::clamp(value, -127.0f, 127.0f)));
      };
      const int8_t ratio = inverse == 0 ? int8_t{0} : byte(groups_[g].scale * inverse / kUnit);
      const int8_t offset = inverse == 0 ? int8_t{0} : byte(groups_[g].center * inverse);
      row_.ratios[g] = ratio;
      row_.offsets[g] = offset;
      if (keep_codes) continue;
      const float step = ratio == 0 ? 0 : 1 / (static_cast<float>(ratio) * kUnit);
      const float shift = static_cast<float>(offset);
      const int64_t group_end = std::min(end, (g + 1) * group);
      for (int64_t k = g * group; k < group_end; ++k) {
        const float value = inverse == 0 ? 0 : (floats_[k] * inverse - shift) * step;
        row_.codes[k] = static_cast<int8_t>(Nearest(std::clamp(value, -8.0f, 7.0f)));
      }
    }
  }
}

float CodeF8(std::span<const float> w, uint8_t* codes) {
  float largest = 0;
  for (const float value : w) largest = std::max(largest, std::abs(value));
  const float scale = AllFinite(w) ? largest / kLargestF8 : std::numeric_limits<float>::quiet_NaN();
  for (size_t k = 0; k < w.size(); ++k) codes[k] = scale == 0 ? 0 : F8FromFloat(w[k] / scale);
  return scale;
}

float DecodeInput(const CodedRow& row, const WeightFormat& format, int64_t k) {
  const float scale = ScaleValue(row.scales[k / SegmentOf(format)]);
  int byte = row.codes[k];
  if (format.type == WeightType::kInt4) {
    const int64_t group = k / GroupOf(format);
    byte = ExpandCode(row.ratios[group], row.offsets[group], byte);
  }
  return scale * static_cast<float>(byte);
}

bool KeepsCodes(const QuantizedLayout& layout, const WeightFormat& format) {
  if (!IsInteger(format.type) || layout.bits > Bits(format.type)) return false;
  const bool symmetric = format.symmetric || format.type == WeightType::kInt8;
  if (symmetric && !layout.symmetric) return false;
  if (layout.group == 0) return true;
  return format.group != 0 && layout.group % format.group == 0;
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
  if (format.type == WeightType::kInt8) format.symmetric = true;
  return format;
}

}  // namespace tessera::ops
