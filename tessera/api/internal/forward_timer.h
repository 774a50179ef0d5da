// Times forwards of a model as decoding runs them; not installed.
#pragma once

#include <span>

#include "tessera/api/model.h"
#include "tessera/models/decoder.h"
#include "tessera/ops/device.h"

namespace tessera::api {

// The mask of the model's own attention over `slots`, which must outlive it.
ops::MaskSpec OwnMask(const ops::ModelTraits& traits, std::span<const ops::SlotRange> slots);

// The median of `repeats` forwards after one that warms up. The cached rows hold random numbers.
Result<ForwardTiming> TimeForward(models::Decoder& model, ops::Device& device,
                                  const ForwardShape& shape, int32_t repeats);

}  // namespace tessera::api
