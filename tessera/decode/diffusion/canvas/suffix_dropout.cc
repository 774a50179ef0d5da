#include "tessera/decode/diffusion/canvas/suffix_dropout.h"

#include <cmath>
#include <numbers>

#include "tessera/decode/diffusion/canvas/wrapper.h"

namespace tessera::decode::canvas {
namespace {

class SuffixDropout : public CanvasWrapper {
 public:
  SuffixDropout(std::unique_ptr<CanvasPolicy> base, const SuffixDropoutConfig& config)
      : CanvasWrapper(std::move(base)), config_(config) {}

  Window Next(const SequenceView& view) override {
    Window window = base().Next(view);
    for (int32_t position = window.end; position < view.canvas(); ++position) {
      if (view.is_committed(position) || window.hidden.Contains(position)) continue;
      // One draw per block and position: a survivor stays while the block is decoded.
      const double draw =
          Uniform({.seed = view.seed, .position = position, .step = window.block_begin + 1},
                  RngPurpose::kCanvas, 0);
      if (draw >= Survival(position - window.end)) window.hidden.Add(position);
    }
    return window;
  }

 private:
  double Survival(int32_t distance) const {
    if (distance >= config_.window) return 0;
    const double z = config_.spread * distance / config_.window;
    return config_.density * std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
  }

  SuffixDropoutConfig config_;
};

}  // namespace

std::unique_ptr<CanvasPolicy> WithSuffixDropout(std::unique_ptr<CanvasPolicy> base,
                                                const SuffixDropoutConfig& config) {
  return std::make_unique<SuffixDropout>(std::move(base), config);
}

}  // namespace tessera::decode::canvas
