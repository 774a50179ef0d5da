// Weight rounding of the reference: what a packed matrix means, without any packing.
#include <algorithm>
#include <utility>

#include "tessera/ops/ref/ref_ops.h"
#include "tessera/ops/weight_rounding.h"
#include "tessera/tensor/f8.h"

namespace tessera::ops::ref {
Result<std::unique_ptr<RefMatrix>> Pack(const MatrixSource& source) {
  if (source.parts.empty()) return InvalidArgument("pack: no tensors to stack");
  int64_t out = 0, in = -1;
  for (const MatrixPart& part : source.parts) {
    const Shape& shape = part.shape();
    if (shape.size() != 2 || (in >= 0 && shape[1] != in)) {
      return InvalidArgument("pack: shape {} cannot be stacked; expected [any, {}]",
                             ToString(shape), in >= 0 ? fmt::to_string(in) : "in");
    }
    const DType dtype = part.floats.dtype;
    if (part.quantized == nullptr && dtype != DType::kF32 && dtype != DType::kF16 &&
        dtype != DType::kBF16) {
      return InvalidArgument("pack: dtype {} is not a weight type; expected f32, f16 or bf16",
                             Name(dtype));
    }
    out += shape[0];
    in = shape[1];
  }
  const WeightFormat& format = source.format;
  RowReader reader(format, in);
  std::vector<float> values(static_cast<size_t>(out * in));
  std::vector<uint8_t> codes(static_cast<size_t>(in));
  float* w = values.data();
  for (const MatrixPart& part : source.parts) {
    for (int64_t row = 0; row < part.shape()[0]; ++row, w += in) {
      if (IsInteger(format.type)) {
        const CodedRow& coded = reader.ReadCodes(part, row);
        for (int64_t k = 0; k < in; ++k) w[k] = DecodeInput(coded, format, k);
        continue;
      }
      reader.ReadFloats(part, row, w);
      if (format.type == WeightType::kF32) continue;
      if (format.type == WeightType::kF8) {
        const float scale = CodeF8({w, codes.size()}, codes.data());
        for (int64_t k = 0; k < in; ++k) w[k] = FloatFromF8(codes[k]) * scale;
        continue;
      }
      for (int64_t k = 0; k < in; ++k) w[k] = FloatFromBF16(BF16FromFloat(w[k]));
    }
  }
  return std::make_unique<RefMatrix>(out, in, format, std::move(values));
}

}  // namespace tessera::ops::ref
