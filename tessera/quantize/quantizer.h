// From a checkpoint's weights to a quantised one: which matrices become integers, in which order,
// and how far each was off. Memory holds one layer and, when calibrating, the hidden rows.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tessera/formats/quantized_checkpoint.h"
#include "tessera/formats/tensor_source.h"
#include "tessera/models/decoder_config.h"
#include "tessera/ops/device.h"
#include "tessera/quantize/calibration.h"
#include "tessera/quantize/gptq.h"

namespace tessera::quantize {

enum class Method { kRoundToNearest, kGptq };

std::string_view Name(Method method);

struct QuantizeOptions {
  Method method = Method::kRoundToNearest;
  QuantizedLayout layout;                          // of the matrices of the layers
  std::optional<QuantizedLayout> embedding, head;  // nothing: kept as they are stored
  GptqOptions gptq;
  const CalibrationSet* calibration = nullptr;  // kGptq needs one; weighs errors otherwise
  int64_t max_shard_bytes = int64_t{5} << 30;
  std::function<bool(int64_t, int64_t)> progress;  // (weights done, in all); false cancels
};

struct MatrixReport {
  std::string name;
  StoredMatrix matrix;
  Method method = Method::kRoundToNearest;  // kGptq: of rows_by_gptq, the others are rounded
  double weight_error = 0;                  // |W - Q| / |W|
  std::optional<double> output_error;       // |X (W - Q)^T| / |X W^T| over the calibration rows
  double damping = 0;                       // kGptq: that was needed
  double rows_by_gptq = 0;                  // share of output features that it did better for
};

struct QuantizeReport {
  std::vector<MatrixReport> matrices;  // in the order in which they were done
  std::vector<std::string> kept;       // matrices that stay as they are
  int64_t source_bytes = 0, bytes = 0;
};

// Writes the weights into the existing folder. Every tensor of the source is checked as a load
// would; one that is quantised already is refused. A tied embedding is the head.
Result<QuantizeReport> QuantizeWeights(const models::DecoderConfig& config,
                                       const TensorSource& source, ops::Device& device,
                                       ThreadPool& pool, const std::string& folder,
                                       const QuantizeOptions& options);

}  // namespace tessera::quantize
