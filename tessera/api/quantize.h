// Writes a checkpoint folder whose matrices are int8 or int4, and says what that cost.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tessera/api/model.h"
#include "tessera/base/result.h"

namespace tessera::api {

// A text that the model is shown while its weights are measured: a conversation and its answer, or,
// without messages, a plain text.
struct CalibrationText {
  std::vector<Message> messages;
  std::string text;
};

struct QuantizeOptions {
  std::string model;           // a checkpoint folder
  std::string output;          // folder to create; must not exist yet
  std::string method = "rtn";  // rtn | gptq
  int bits = 8;                // 8 | 4
  int group = 0;               // inputs that share a scale: 32 | 64 | 128; 0: all of them
  bool symmetric = true;
  std::string embedding = "keep";            // keep | int8 | int4; one that is tied follows `head`
  std::string head = "int8";                 // keep | int8 | int4
  double damping = 0.01;                     // gptq: share of the mean diagonal, 0 to 1
  bool act_order = false;                    // gptq: inputs in order of their activations
  std::vector<CalibrationText> calibration;  // none: no weighing, no output errors, no gptq
  std::string calibration_name;              // for the record
  int64_t calibration_rows = 32'768;         // token positions, masked texts repeated
  uint64_t seed = 0;                         // of masks and their ratios
  int64_t max_shard_bytes = 5'000'000'000;
  std::string isa = "auto";
  int threads = 0;
  std::function<bool(int64_t, int64_t)> progress;  // (weights, all weights); false cancels
};

struct QuantizedMatrixReport {
  std::string name;
  std::string layout;                  // "int4-g64"
  std::string method;                  // rtn | gptq
  double weight_error = 0;             // |W - Q| / |W|
  std::optional<double> output_error;  // |X (W - Q)| / |X W| over the calibration rows
  double gptq_rows = 0;                // share of output features that gptq did better for
};

struct QuantizeReport {
  std::vector<QuantizedMatrixReport> matrices;
  std::vector<std::string> kept;  // matrices that stay as they are
  int64_t source_bytes = 0, bytes = 0;
  int64_t calibration_rows = 0;
  double mask_ratio = 0;  // of the tokens that could be masked
  double seconds = 0;
  std::string json;  // all of it, as in the folder's quantization_report.json
};

// Nothing is left behind on failure.
Result<QuantizeReport> Quantize(const QuantizeOptions& options);

}  // namespace tessera::api
