// What an integer weight format means: how floats become codes, and how scales are stored. Shared
// by the reference and the devices, so that both multiply the same numbers.
#pragma once

#include <cstdint>
#include <span>

#include "tessera/ops/matrix.h"

namespace tessera::ops {

// Scales and mins are kept as binary16 in units of 2^-10: 11 significant bits from 6e-8 to 64. A
// checkpoint's scales lie near 1e-4 to 1e-2, where plain binary16 begins to lose bits.
inline constexpr float kScaleUnit = 0x1p-10f;

// The stored bits of a scale or min, and the number they mean.
uint16_t StoredScale(float scale);
float ScaleValue(uint16_t stored);

// One group of an output feature: w ~ scale * q + min with the signed code q in
// [-2^(bits-1), 2^(bits-1) - 1]; min is 0 in symmetric formats.
struct GroupCode {
  uint16_t scale = 0;  // stored
  uint16_t min = 0;
};

constexpr int Bits(WeightType type) { return type == WeightType::kInt4 ? 4 : 8; }

// Rounds a group to the nearest codes; `format` is an integer format, q has room for all of w. A
// group that holds NaN or infinity gets a NaN scale; one too large to store, an infinite one.
//   symmetric int8   scale = largest |w| / 127
//   symmetric int4   scale = -w / 8 for the w of largest magnitude: all 16 codes are used
//   asymmetric       the codes span [smallest w, largest w]
GroupCode RoundGroup(std::span<const float> w, const WeightFormat& format, int8_t* q);

// Whether codes of `layout` can be kept as they are in `format` (with their scales and mins).
bool KeepsCodes(const QuantizedLayout& layout, const WeightFormat& format);

// Turns the rows of matrix parts into floats or into codes of an integer format. Not thread-safe:
// one per thread; allocates only when made.
class RowReader {
 public:
  RowReader(const WeightFormat& format, int64_t in);

  // Inputs per group; the last group may be shorter.
  int64_t group() const { return group_; }
  int64_t num_groups() const { return (in_ + group_ - 1) / group_; }

  // Output feature `row` of `part` as floats [in].
  void ReadFloats(const MatrixPart& part, int64_t row, float* out);
  // The same as signed codes [in] and one GroupCode per group, kept or rounded.
  void ReadCodes(const MatrixPart& part, int64_t row, int8_t* q, GroupCode* groups);

 private:
  void ReadQuantized(const QuantizedTensor& tensor, int64_t row);

  WeightFormat format_;
  int64_t in_, group_;
  std::vector<float> floats_;         // [in]
  std::vector<uint8_t> codes_;        // [in], of the part's own layout
  std::vector<float> scales_, mins_;  // [in]: a group is at least one input
};

// The format that keeps the codes of every part, or comes closest; kept codes need no rounding.
// Parts may mix layouts (GGUF's Q4_K with Q6_K, whose groups of 16 become int8 groups of 32).
WeightFormat FormatFor(std::span<const MatrixPart> parts);

}  // namespace tessera::ops
