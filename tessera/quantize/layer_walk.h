// Runs the calibration sequences through a model one layer at a time, so that memory holds one
// layer and the hidden rows of all sequences, never the model.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tessera/formats/tensor_source.h"
#include "tessera/models/decoder.h"

namespace tessera::quantize {

// Quantised matrices that stand in for those of the checkpoint, by name.
using Replacements = std::map<std::string, const QuantizedTensor*, std::less<>>;

class LayerWalk {
 public:
  // `format`: how the device holds weights. All arguments must outlive the walk, which needs a
  // device whose memory the host can read.
  LayerWalk(const models::DecoderConfig& config, const TensorSource& source, ops::Device& device,
            const ops::WeightFormat& format, std::span<const std::vector<ops::TokenId>> sequences)
      : config_(config), source_(source), device_(device), format_(format), sequences_(sequences) {}

  // Looks the tokens up, in the replaced embedding if there is one.
  Status Embed(const Replacements& replaced);
  // Runs `layer` and shows the observer what its linears read; the hidden rows stay as they are.
  Status Observe(int64_t layer, const models::LinearObserver& observer) {
    return Run(layer, {}, observer, Keep::kOld);
  }
  // Runs `layer` with the replaced weights; the hidden rows become those after it.
  Status Advance(int64_t layer, const Replacements& replaced) {
    return Run(layer, replaced, {}, Keep::kNew);
  }

 private:
  enum class Keep { kOld, kNew };
  Status Run(int64_t layer, const Replacements& replaced, const models::LinearObserver& observer,
             Keep keep);

  const models::DecoderConfig& config_;
  const TensorSource& source_;
  ops::Device& device_;
  ops::WeightFormat format_;
  std::span<const std::vector<ops::TokenId>> sequences_;
  std::vector<std::vector<float>> hidden_;  // per sequence [tokens, width]
};

// The tensors of one layer, in file order.
std::vector<models::TensorSpec> LayerTensors(const models::DecoderConfig& config, int64_t layer);

}  // namespace tessera::quantize
