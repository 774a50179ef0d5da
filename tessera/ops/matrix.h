// Weight matrices in the packed layout of one device.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/tensor/quantized.h"
#include "tessera/tensor/tensor.h"

namespace tessera::ops {

// How the elements of a weight matrix are stored. Quantised formats hold integers with one scale
// (and, when asymmetric, one zero point) per `group` input features of an output feature;
// group 0 means one per output feature. ops/weight_rounding.h has the arithmetic.
// kF8: e4m3 with one f32 scale per output feature, the largest magnitude / 448; not on CPUs.
enum class WeightType : uint8_t { kF32, kBF16, kF8, kInt8, kInt4 };

struct WeightFormat {
  WeightType type = WeightType::kBF16;
  int32_t group = 0;
  bool symmetric = true;
  bool operator==(const WeightFormat&) const = default;
};

// "f32", "bf16", "fp8", "int8-g256", "int4-g64-asym"; without "-gN", int8 has groups of 256, int4
// of 64.
std::string Name(const WeightFormat& format);
Result<WeightFormat> ParseWeightFormat(std::string_view text);

// One tensor [out, in] as its file stores it: floats, or integers when `quantized` is set.
struct MatrixPart {
  MatrixPart(TensorView view) : floats(std::move(view)) {}          // NOLINT
  MatrixPart(const QuantizedTensor* tensor) : quantized(tensor) {}  // NOLINT
  const Shape& shape() const { return quantized != nullptr ? quantized->shape() : floats.shape; }

  TensorView floats;
  const QuantizedTensor* quantized = nullptr;  // lives until Pack has returned
};

// Tensors [out_i, in] stacked along their output features, for example Q, K and V. Pack converts
// every part to `format`: integers that fit it keep their codes and scales, all else is rounded to
// the nearest.
struct MatrixSource {
  std::vector<MatrixPart> parts;
  WeightFormat format;
  // Two parts of equal height, a multiple of 8, that are read as [gate | up]: devices may
  // interleave them. Products keep the order of the parts.
  bool paired = false;
};

// Refuses what no device packs: other dtypes than F32, F16, BF16 and integers, other groups than
// 32, 64, 128, 256 and 0, shapes that do not stack.
Status CheckSource(const MatrixSource& source);

// An immutable packed matrix W of logical shape [out, in]; made by Device::Pack, understood only
// by the device that made it.
class Matrix {
 public:
  Matrix(int64_t out, int64_t in, WeightFormat format) : out_(out), in_(in), format_(format) {}
  virtual ~Matrix() = default;

  int64_t out() const { return out_; }
  int64_t in() const { return in_; }
  const WeightFormat& format() const { return format_; }
  virtual int64_t bytes() const = 0;  // what one forward has to read, scales included

 private:
  int64_t out_, in_;
  WeightFormat format_;
};

}  // namespace tessera::ops
