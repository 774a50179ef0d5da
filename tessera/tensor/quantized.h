// Weights stored as small integers: what readers of quantised files give to a device that packs
// them. Owns nothing but the contract; thread-safe once made.
#pragma once

#include <cstdint>
#include <string>

#include "tessera/tensor/tensor.h"

namespace tessera {

// w[o, k] = scale[o, g] * code[o, k] + min[o, g],  g = k / group,  0 <= code < 2^bits.
// Symmetric: min = -2^(bits-1) * scale, so that codes are signed integers around zero.
struct QuantizedLayout {
  int32_t bits = 8;    // 1 to 8
  int32_t group = 32;  // inputs of one output feature that share a scale; 0: all of them
  bool symmetric = true;

  int64_t NumGroups(int64_t in) const { return group == 0 ? 1 : (in + group - 1) / group; }
  bool operator==(const QuantizedLayout&) const = default;
};

class QuantizedTensor {
 public:
  virtual ~QuantizedTensor() = default;

  const Shape& shape() const { return shape_; }  // [out, in]
  const QuantizedLayout& layout() const { return layout_; }
  const std::string& type_name() const { return type_name_; }  // "Q4_K", "int4 g64"
  int64_t bytes() const { return bytes_; }                     // as stored, scales included

  // Decodes output feature `row`: codes [in], scales and mins [NumGroups(in)]. Values are finite.
  virtual void ReadRow(int64_t row, uint8_t* codes, float* scales, float* mins) const = 0;

 protected:
  QuantizedTensor(Shape shape, QuantizedLayout layout, std::string type_name, int64_t bytes)
      : shape_(std::move(shape)),
        layout_(layout),
        type_name_(std::move(type_name)),
        bytes_(bytes) {}

 private:
  Shape shape_;
  QuantizedLayout layout_;
  std::string type_name_;
  int64_t bytes_;
};

}  // namespace tessera
