// Checkpoints that `tessera quantize` wrote: matrices as integers with scales beside plain tensors.
//
// config.json's "quantization_config" has quant_method "tessera" and lists every quantised matrix
// NAME with its shape and layout. The weights then hold, instead of NAME,
//   NAME.codes   U8 [out, CodeRowBytes(in, bits)]  see quantized_codes.h
//   NAME.scales  f32, f16 or bf16 [out, groups]
//   NAME.mins    the same; only when NAME is asymmetric
// Refused by name: parts that are missing, misshapen, of another type, or listed nowhere; bits,
// groups and shapes out of range; and, when a tensor is asked for, scales that are negative, NaN or
// so large that a weight would overflow. Every code is a value, so codes need no check.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/formats/json.h"
#include "tessera/formats/tensor_source.h"

namespace tessera {

// A quantised matrix as the config lists it.
struct StoredMatrix {
  Shape shape;  // [out, in]
  QuantizedLayout layout;
};

using StoredMatrices = std::map<std::string, StoredMatrix, std::less<>>;

// True when `config` (config.json) says that another program's quantisation, or ours, was applied.
bool HasQuantizationConfig(const JsonObject& config);

// The matrices of "quantization_config"; refuses every quant_method but our own, and contents that
// no layout of ours has.
Result<StoredMatrices> ParseQuantizationConfig(const JsonObject& config);

// "int4-g64", "int8", "int4-g32-asym"
std::string LayoutName(const QuantizedLayout& layout);

class QuantizedCheckpoint : public TensorSource {
 public:
  // Takes over the plain tensors that hold the parts; checks all but values.
  static Result<std::unique_ptr<QuantizedCheckpoint>> Open(std::unique_ptr<TensorSource> parts,
                                                           const StoredMatrices& matrices);
  ~QuantizedCheckpoint() override;

  const std::string& origin() const override { return parts_->origin(); }
  std::vector<std::string> names() const override;
  const TensorView* Find(std::string_view name) const override;
  const QuantizedTensor* FindQuantized(std::string_view name) const override;
  int64_t total_bytes() const override { return parts_->total_bytes(); }
  void Advise(std::string_view name, MapAdvice advice) const override;

 protected:
  Status Missing(std::string_view name) const override;
  Status CheckScales(std::string_view name) const override;

 private:
  class StoredTensor;

  explicit QuantizedCheckpoint(std::unique_ptr<TensorSource> parts);
  Status Add(const std::string& name, const StoredMatrix& matrix);

  std::unique_ptr<TensorSource> parts_;
  std::map<std::string, std::unique_ptr<StoredTensor>, std::less<>> matrices_;
  std::map<std::string, std::string, std::less<>> owner_;  // of a part: the matrix
};

}  // namespace tessera
