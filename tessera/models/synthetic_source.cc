#include "tessera/models/synthetic_source.h"

#include <algorithm>
#include <cmath>

#include "tessera/base/rng.h"
#include "tessera/ops/weight_rounding.h"

namespace tessera::models {
namespace {

// Codes of a row are a stretch of one random pool that begins where the row says.
class SyntheticIntegers : public QuantizedTensor {
 public:
  SyntheticIntegers(const Shape& shape, const QuantizedLayout& layout)
      : QuantizedTensor(shape, layout, "synthetic",
                        shape[0] * (shape[1] * layout.bits / 8 + 2 * layout.NumGroups(shape[1]))),
        pool_(static_cast<size_t>(shape[1]) + kOffsets) {
    for (size_t i = 0; i < pool_.size(); ++i) {
      const double u = Uniform({.seed = 1}, RngPurpose::kWeights, static_cast<uint32_t>(i));
      pool_[i] = static_cast<uint8_t>(u * (1 << layout.bits));
    }
  }

  void ReadRow(int64_t row, uint8_t* codes, float* scales, float* mins) const override {
    std::copy_n(pool_.begin() + row * 61 % kOffsets, shape()[1], codes);
    const int64_t groups = layout().NumGroups(shape()[1]);
    // Weights of variance 1 / inputs: uniform codes have a deviation of 2^bits / sqrt(12).
    const float zero = static_cast<float>(1 << (layout().bits - 1));
    const float scale = std::sqrt(3.0f / static_cast<float>(shape()[1])) / zero;
    std::fill_n(scales, groups, scale);
    std::fill_n(mins, groups, -zero * scale);
  }

 private:
  static constexpr int64_t kOffsets = 4096;
  std::vector<uint8_t> pool_;
};

}  // namespace

SyntheticSource::SyntheticSource(const DecoderConfig& config, const ops::WeightFormat& format) {
  const std::vector<TensorSpec> tensors = ListTensors(config);
  int64_t longest = 0, largest = 0;
  for (const TensorSpec& tensor : tensors) {
    int64_t& most = tensor.shape.size() == 1 ? longest : largest;
    most = std::max(most, NumElements(tensor.shape));
  }
  ones_.assign(static_cast<size_t>(longest), 1.0f);
  const bool integers = ops::IsInteger(format.type);
  if (!integers) {
    constexpr size_t kPeriod = 1 << 20;
    pool_.resize(static_cast<size_t>(largest));
    const float reach = std::sqrt(3.0f / static_cast<float>(config.width));
    for (size_t i = 0; i < std::min(kPeriod, pool_.size()); ++i) {
      const double u = Uniform({.seed = 1}, RngPurpose::kWeights, static_cast<uint32_t>(i));
      pool_[i] = BF16FromFloat(reach * (2 * static_cast<float>(u) - 1));
    }
    for (size_t i = kPeriod; i < pool_.size(); ++i) pool_[i] = pool_[i - kPeriod];
  }
  for (const TensorSpec& tensor : tensors) {
    if (tensor.shape.size() == 1) {
      views_[tensor.name] = {reinterpret_cast<const std::byte*>(ones_.data()), DType::kF32,
                             tensor.shape};
      total_bytes_ += views_[tensor.name].bytes();
    } else if (integers) {
      const bool layer = tensor.name != config.names.embedding && tensor.name != config.names.head;
      const QuantizedLayout layout = {.bits = layer ? ops::Bits(format.type) : 8,
                                      .group = layer ? format.group : 256,
                                      .symmetric = true};
      integers_[tensor.name] = std::make_unique<SyntheticIntegers>(tensor.shape, layout);
      total_bytes_ += integers_[tensor.name]->bytes();
    } else {
      views_[tensor.name] = {reinterpret_cast<const std::byte*>(pool_.data()), DType::kBF16,
                             tensor.shape};
      total_bytes_ += views_[tensor.name].bytes();
    }
  }
}

std::vector<std::string> SyntheticSource::names() const {
  std::vector<std::string> all;
  for (const auto& [name, view] : views_) all.push_back(name);
  for (const auto& [name, tensor] : integers_) all.push_back(name);
  std::sort(all.begin(), all.end());
  return all;
}

const TensorView* SyntheticSource::Find(std::string_view name) const {
  const auto found = views_.find(name);
  return found == views_.end() ? nullptr : &found->second;
}

const QuantizedTensor* SyntheticSource::FindQuantized(std::string_view name) const {
  const auto found = integers_.find(name);
  return found == integers_.end() ? nullptr : found->second.get();
}

}  // namespace tessera::models
