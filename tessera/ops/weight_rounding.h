// What an integer weight format means: how floats become codes, and how scales are stored. Shared
// by the reference and the devices, so that both multiply the same numbers.
//
// Every format comes down to signed bytes with one scale per segment of inputs, w = scale * byte:
//   int8  the byte is stored; a segment is a group (kSegment inputs if the scale is per feature)
//   int4  a segment is kSegment inputs; a code q in [-8, 7] stands for
//           byte = saturate(nearest(ratio * q * 2/15) + offset)
//         with one byte `ratio` (and, when asymmetric, one byte `offset`) per group: the group's
//         scale is scale * ratio * 2/15. Integer products then add up over a whole segment without
//         leaving the integers, which is what makes a block of rows as cheap as one row on AMX.
//         The price: weights lie on a grid of 1/127 of the segment's largest magnitude, a
//         sixteenth of its coarsest int4 step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/ops/matrix.h"

namespace tessera::ops {

inline constexpr int64_t kSegment = 256;

// Scales are kept as binary16 in units of 2^-10: 11 significant bits from 6e-8 to 64. A
// checkpoint's scales lie near 1e-5 to 1e-2, where plain binary16 begins to lose bits.
inline constexpr float kScaleUnit = 0x1p-10f;
uint16_t StoredScale(float scale);
float ScaleValue(uint16_t stored);

constexpr bool IsInteger(WeightType type) {
  return type == WeightType::kInt8 || type == WeightType::kInt4;
}
constexpr int Bits(WeightType type) { return type == WeightType::kInt4 ? 4 : 8; }

// ratio * code * 2/15 to the nearest integer (15 is odd: no ties), within a signed byte.
constexpr int8_t ExpandCode(int8_t ratio, int code) {
  const int twice = 2 * ratio * code;
  const int value = (twice + (twice < 0 ? -7 : 7)) / 15;
  return static_cast<int8_t>(value < -128 ? -128 : value > 127 ? 127 : value);
}
// The same plus `offset`, saturated.
constexpr int8_t ExpandCode(int8_t ratio, int8_t offset, int code) {
  const int value = ExpandCode(ratio, code) + offset;
  return static_cast<int8_t>(value < -128 ? -128 : value > 127 ? 127 : value);
}

// Inputs that share a scale, and inputs that share a ratio and an offset (int4 only).
int64_t SegmentOf(const WeightFormat& format);
int64_t GroupOf(const WeightFormat& format);

// One output feature in an integer format.
struct CodedRow {
  std::vector<int8_t> codes;     // [in]: bytes (int8) or q (int4)
  std::vector<uint16_t> scales;  // [segments], stored; all equal when one per feature
  std::vector<int8_t> ratios;    // [groups], int4 only
  std::vector<int8_t> offsets;   // [groups], int4 only; 0 when symmetric
};

// Turns the rows of matrix parts into floats or into codes of an integer format. Not thread-safe:
// one per thread; allocates only when made.
class RowReader {
 public:
  RowReader(const WeightFormat& format, int64_t in);

  // Output feature `row` of `part` as floats [in].
  void ReadFloats(const MatrixPart& part, int64_t row, float* out);
  // The same in the integer format. Codes that fit are kept, with their scales to the precision
  // above; all else is rounded to the nearest, between the largest magnitudes:
  //   symmetric int8   scale = largest |w| / 127
  //   symmetric int4   scale = -w / 8 for the w of largest magnitude: all 16 codes are used
  //   asymmetric int4  the codes span [smallest w, largest w], zero included
  // A segment that holds NaN or infinity gets a NaN scale; one too large to store, an infinite one.
  const CodedRow& ReadCodes(const MatrixPart& part, int64_t row);

 private:
  // A group of int4 as numbers: w ~ scale * q + center.
  struct Group {
    float scale = 0, center = 0;
  };
  void ReadQuantized(const QuantizedTensor& tensor, int64_t row);
  void CodeInt8();
  void KeepInt8(const QuantizedLayout& layout);
  void ChooseInt4Groups();
  void CodeInt4(bool keep_codes);

  WeightFormat format_;
  int64_t in_;
  CodedRow row_;
  std::vector<float> floats_;         // [in]
  std::vector<uint8_t> codes_;        // [in], of the part's own layout
  std::vector<float> scales_, mins_;  // [in]: a group is at least one input
  std::vector<Group> groups_;
};

// One output feature as e4m3: the codes of w / scale, with scale = largest |w| / 448, returned. The
// scale of a feature that holds NaN or infinity is NaN.
float CodeF8(std::span<const float> w, uint8_t* codes);

// Back to a number: input k of a coded row.
float DecodeInput(const CodedRow& row, const WeightFormat& format, int64_t k);

// Whether codes of `layout` can be kept as they are in `format`.
bool KeepsCodes(const QuantizedLayout& layout, const WeightFormat& format);

// The format that keeps the codes of every part, or comes closest. Parts may mix layouts; codes of
// five to eight bits with offsets, or in groups smaller than 32, become int8 in groups of 32.
WeightFormat FormatFor(std::span<const MatrixPart> parts);

}  // namespace tessera::ops
