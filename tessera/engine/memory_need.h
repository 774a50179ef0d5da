// What a model will take of its device's memory, estimated before any weight is read: weights that
// do not fit would end in an error, or in the system killing the process, minutes into loading.
#pragma once

#include <optional>
#include <string>

#include "tessera/base/status.h"
#include "tessera/models/decoder_config.h"
#include "tessera/ops/device.h"

namespace tessera::engine {

// What the largest forward holds; 0: one sequence of the whole context, 4,096 positions at most.
struct ForwardSize {
  int64_t positions = 0;  // cached ones and its own rows, of all sequences
  int64_t rows = 0;
};

// Bytes, of `positions` cached positions.
struct MemoryNeed {
  double weights = 0;
  double keys_and_values = 0;
  double activations = 0;
  int64_t positions = 0;
  double total() const { return weights + keys_and_values + activations; }
};

// So many weights in `format`, with their scales.
double WeightBytes(int64_t parameters, const ops::WeightFormat& format);
// `weights`: their bytes.
MemoryNeed EstimateMemory(const models::DecoderConfig& config, double weights, ops::KvType kv_type,
                          const ForwardSize& forward = {});
// kResourceExhausted when `memory`, if it is known, has not enough free. `what` names the model,
// `device` the device, `format` that of the weights.
Status CheckMemory(const MemoryNeed& need, const ops::DeviceMemoryInfo& memory,
                   std::string_view what, std::string_view device, std::string_view format);

}  // namespace tessera::engine
