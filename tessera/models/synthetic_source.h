// Random weights that exist only while they are packed: speed at full size without a checkpoint.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tessera/formats/tensor_source.h"
#include "tessera/models/decoder_config.h"
#include "tessera/ops/matrix.h"

namespace tessera::models {

// Every tensor of a network: vectors of ones, and matrices whose values repeat one pool of random
// numbers, of the format they will be packed in (integers for integer formats, so that nothing is
// rounded). Embedding and head are int8 where the layers are integers, as Decoder packs them.
class SyntheticSource : public TensorSource {
 public:
  SyntheticSource(const DecoderConfig& config, const ops::WeightFormat& format);

  const std::string& origin() const override { return origin_; }
  std::vector<std::string> names() const override;
  const TensorView* Find(std::string_view name) const override;
  const QuantizedTensor* FindQuantized(std::string_view name) const override;
  int64_t total_bytes() const override { return total_bytes_; }

 private:
  std::string origin_ = "synthetic weights";
  std::vector<float> ones_;
  std::vector<uint16_t> pool_;  // of the largest matrix, bf16
  std::map<std::string, TensorView, std::less<>> views_;
  std::map<std::string, std::unique_ptr<QuantizedTensor>, std::less<>> integers_;
  int64_t total_bytes_ = 0;
};

}  // namespace tessera::models
