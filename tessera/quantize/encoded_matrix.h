// A quantised matrix in memory, in the bytes a file will hold: what the algorithms of this room
// fill row by row and the writer and a device read. Rows may be written from several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tessera/tensor/quantized.h"

namespace tessera::quantize {

// How scales and mins are stored. One scale per output feature costs nothing, so it is f32. Group
// scales are bf16: the codes are fitted to the scale as it is stored, so that its 8 bits of
// precision cost at most 0.4 % of a step, whereas f16, with more of them, ends at 6e-5 and would
// lose the steps of small int8 weights.
DType ScaleType(const QuantizedLayout& layout);

// `value` as ScaleType stores it.
float RoundScale(float value, const QuantizedLayout& layout);

class EncodedMatrix : public QuantizedTensor {
 public:
  EncodedMatrix(int64_t out, int64_t in, const QuantizedLayout& layout);

  // codes [in]; scales and mins [groups], already rounded. The mins of a symmetric layout are
  // implied and not read.
  void SetRow(int64_t row, std::span<const uint8_t> codes, std::span<const float> scales,
              std::span<const float> mins);
  void ReadRow(int64_t row, uint8_t* codes, float* scales, float* mins) const override;
  // The weights that the row stands for: [in].
  void Dequantize(int64_t row, std::span<float> weights) const;

  int64_t groups() const { return groups_; }
  std::span<const std::byte> codes() const { return std::as_bytes(std::span(codes_)); }
  // As a file stores them.
  std::vector<std::byte> Scales() const { return Store(scales_); }
  std::vector<std::byte> Mins() const { return Store(mins_); }

 private:
  std::vector<std::byte> Store(std::span<const float> values) const;

  int64_t groups_, row_bytes_;
  std::vector<uint8_t> codes_;  // [out, row_bytes]
  std::vector<float> scales_;   // [out, groups]
  std::vector<float> mins_;     // [out, groups]; empty when symmetric
};

}  // namespace tessera::quantize
