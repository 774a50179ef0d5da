// config.json's "quantization_config" of checkpoints that we write: how they were made, and the
// list of matrices that formats/quantized_checkpoint.h reads; not installed.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tessera/api/quantize.h"
#include "tessera/quantize/quantizer.h"

namespace tessera::api {

// `calibration` may be null.
nlohmann::ordered_json QuantizationConfig(const QuantizeOptions& options,
                                          const quantize::QuantizeReport& report,
                                          const quantize::CalibrationSet* calibration);

// One line about the matrices of a config.json: "70 x int4 g64, 1 x int8; gptq"; "" when it has no
// quantization_config, or one that no reader of ours accepts.
std::string DescribeQuantization(const nlohmann::json& config);

}  // namespace tessera::api
