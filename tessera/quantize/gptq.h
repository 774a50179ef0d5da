// GPTQ (Frantar et al., arXiv 2210.17323): rounds one input after the other and lets the inputs
// not yet rounded make up for the error so far, under H = X^T X of the calibration rows.
//
// We walk the inputs in the paper's order but keep the error instead of the updated weights. With
// H + damping = R R^T, R upper triangular, the loss of an error row e is |e R|^2, and its component
// at input j holds e_i for i <= j only, so the best code at j is the one nearest to
//   w_j + sum_{i<j} e_i R_ij / R_jj,
// which is the paper's updated weight (GPTQ is Babai's nearest plane algorithm on R: Chen et al.,
// arXiv 2507.18553). That takes one Cholesky factor where the paper takes an inverse and the factor
// of that, and its weight R_jj^2 tells the search for scales what an error at j costs.
#pragma once

#include <memory>
#include <span>

#include "tessera/base/status.h"
#include "tessera/base/thread_pool.h"
#include "tessera/quantize/encoded_matrix.h"
#include "tessera/quantize/hessian.h"

namespace tessera::quantize {

enum class InputOrder {
  kAsStored,
  kByActivation,  // largest diagonal of H first ("act-order"); scales are then fitted beforehand
};

struct GptqOptions {
  double damping = 0.01;  // of the mean diagonal of H, added to it
  InputOrder order = InputOrder::kAsStored;
};

// R for the inputs in `order`; made once for all matrices that share their input.
class GptqFactor {
 public:
  // Damping grows tenfold, up to the mean diagonal, until the factor exists. Fails when H is zero.
  static Result<GptqFactor> Make(const Hessian& hessian, const GptqOptions& options);

  int64_t width() const { return static_cast<int64_t>(order_.size()); }
  double damping() const { return damping_; }  // that was used
  const std::vector<int32_t>& order() const { return order_; }
  const float* row(int64_t i) const { return &factor_[static_cast<size_t>(i * width())]; }
  bool reordered() const { return reordered_; }

 private:
  std::vector<int32_t> order_;  // i-th input to be rounded
  std::vector<float> factor_;   // [width, width], upper triangular
  double damping_ = 0;
  bool reordered_ = false;
};

// Rounds weights [out, in] f32. `importance` [in], the diagonal of H, chooses scales that are
// fitted beforehand.
std::unique_ptr<EncodedMatrix> Gptq(std::span<const float> weights, const GptqFactor& factor,
                                    std::span<const float> importance,
                                    const QuantizedLayout& layout, ThreadPool& pool);

}  // namespace tessera::quantize
