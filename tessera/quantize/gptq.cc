#include "tessera/quantize/gptq.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <numeric>

#include "tessera/quantize/rounding.h"

namespace tessera::quantize {
namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowMajorMap = Eigen::Map<const RowMajor>;

// Inputs whose errors are carried on together, as one matrix product ("lazy batch" of the paper).
constexpr int64_t kBlock = 128;
// Output features that one thread rounds together, so that those products are products.
constexpr int64_t kRows = 32;

// Groups whose scales are fitted when the walk reaches them must lie in a block of their own; in
// another order, and with one scale per feature, all are fitted to the weights as they are.
bool FitsOnTheWay(const QuantizedLayout& layout, const GptqFactor& factor) {
  return layout.group > 0 && !factor.reordered();
}

// Rounds the rows [begin, end) of one matrix.
class RowBlock {
 public:
  RowBlock(std::span<const float> weights, const GptqFactor& factor,
           std::span<const float> importance, const QuantizedLayout& layout, int64_t begin,
           int64_t end)
      : factor_(factor),
        r_(factor.row(0), factor.width(), factor.width()),
        layout_(layout),
        in_(factor.width()),
        group_(layout.group > 0 ? layout.group : in_),
        groups_(layout.NumGroups(in_)),
        begin_(begin),
        rows_(end - begin),
        weights_(rows_, in_),
        errors_(RowMajor::Zero(rows_, in_)),
        grids_(static_cast<size_t>(rows_ * groups_)),
        codes_(static_cast<size_t>(rows_ * in_)) {
    const RowMajorMap all(weights.data(), static_cast<int64_t>(weights.size()) / in_, in_);
    for (int64_t j = 0; j < in_; ++j) {
      weights_.col(j) = all.col(factor.order()[static_cast<size_t>(j)]).segment(begin, rows_);
    }
    if (FitsOnTheWay(layout, factor)) return;
    for (int64_t row = 0; row < rows_; ++row) {
      for (int64_t g = 0; g < groups_; ++g) {
        const size_t at = static_cast<size_t>(g * group_);
        const size_t size = static_cast<size_t>(std::min(group_, in_ - g * group_));
        grid(row, g) = FitGrid(weights.subspan(static_cast<size_t>((begin + row) * in_) + at, size),
                               importance.subspan(at, size), layout);
      }
    }
  }

  void Round() {
    const bool fits = FitsOnTheWay(layout_, factor_);
    const int64_t width = fits ? group_ : kBlock;
    for (int64_t first = 0; first < in_; first += width) {
      const int64_t size = std::min(width, in_ - first);
      // What the errors before this block ask of it.
      RowMajor carried = errors_.leftCols(first) * r_.block(0, first, first, size);
      if (fits) FitBlock(first, size, carried);
      for (int64_t j = first; j < first + size; ++j) RoundInput(j, first, carried.col(j - first));
    }
  }

  void Store(EncodedMatrix* encoded) const {
    std::vector<float> scales(static_cast<size_t>(groups_)), mins(scales.size());
    for (int64_t row = 0; row < rows_; ++row) {
      for (size_t g = 0; g < scales.size(); ++g) {
        const Grid& grid = grids_[static_cast<size_t>(row * groups_) + g];
        scales[g] = grid.scale;
        mins[g] = grid.min;
      }
      encoded->SetRow(
          begin_ + row,
          std::span(codes_).subspan(static_cast<size_t>(row * in_), static_cast<size_t>(in_)),
          scales, mins);
    }
  }

 private:
  Grid& grid(int64_t row, int64_t g) { return grids_[static_cast<size_t>(row * groups_ + g)]; }

  // Scales for the weights as the paper has updated them on reaching the block: w + t with
  // t R_block = carried, the change of the block that undoes the error so far.
  void FitBlock(int64_t first, int64_t size, const RowMajor& carried) {
    const auto block = r_.block(first, first, size, size);
    RowMajor updated = block.triangularView<Eigen::Upper>().solve<Eigen::OnTheRight>(carried);
    updated += weights_.middleCols(first, size);
    std::vector<float> costs(static_cast<size_t>(size));
    for (int64_t j = 0; j < size; ++j) costs[static_cast<size_t>(j)] = block(j, j) * block(j, j);
    for (int64_t row = 0; row < rows_; ++row) {
      grid(row, first / group_) =
          FitGrid(std::span(updated.row(row).data(), static_cast<size_t>(size)), costs, layout_);
    }
  }

  template <typename Column>
  void RoundInput(int64_t j, int64_t first, const Column& carried) {
    const int32_t input = factor_.order()[static_cast<size_t>(j)];
    const Eigen::VectorXf inside =
        errors_.middleCols(first, j - first) * r_.col(j).segment(first, j - first);
    for (int64_t row = 0; row < rows_; ++row) {
      const float weight = weights_(row, j);
      const Grid& chosen = grid(row, input / group_);
      const uint8_t code = chosen.Code(weight + (carried(row) + inside(row)) / r_(j, j));
      codes_[static_cast<size_t>(row * in_ + input)] = code;
      errors_(row, j) = weight - chosen.Value(code);
    }
  }

  const GptqFactor& factor_;
  const RowMajorMap r_;
  const QuantizedLayout layout_;
  const int64_t in_, group_, groups_, begin_, rows_;
  RowMajor weights_, errors_;   // [rows, in] in the factor's order; errors 0 where not yet rounded
  std::vector<Grid> grids_;     // [rows, groups]
  std::vector<uint8_t> codes_;  // [rows, in] in the order of the file
};

}  // namespace

Result<GptqFactor> GptqFactor::Make(const Hessian& hessian, const GptqOptions& options) {
  const int64_t n = hessian.width();
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += hessian.diagonal(i) / static_cast<double>(n);
  if (!(mean > 0)) return InvalidArgument("the calibration rows are all zero");

  GptqFactor result;
  result.order_.resize(static_cast<size_t>(n));
  std::iota(result.order_.begin(), result.order_.end(), 0);
  if (options.order == InputOrder::kByActivation) {
    result.reordered_ = true;
    std::stable_sort(result.order_.begin(), result.order_.end(), [&](int32_t a, int32_t b) {
      return hessian.diagonal(a) > hessian.diagonal(b);
    });
  }
  // R = J L J for the factor L of J H J, J the reversal of the order.
  const auto input = [&](int64_t i) { return result.order_[static_cast<size_t>(n - 1 - i)]; };
  for (double damping = options.damping; damping <= 1;
       damping = damping > 0 ? damping * 10 : 1e-6) {
    Eigen::MatrixXd reversed(n, n);
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = j; i < n; ++i) reversed(i, j) = hessian.values()[input(i) * n + input(j)];
      reversed(j, j) += damping * mean;
    }
    const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> llt(reversed);
    if (llt.info() != Eigen::Success) continue;
    result.damping_ = damping;
    result.factor_.assign(static_cast<size_t>(n * n), 0.0f);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i; j < n; ++j) {
        result.factor_[static_cast<size_t>(i * n + j)] =
            static_cast<float>(reversed(n - 1 - i, n - 1 - j));
      }
    }
    return result;
  }
  return InvalidArgument(
      "the calibration rows give no positive definite matrix; more rows or more damping help");
}

std::unique_ptr<EncodedMatrix> Gptq(std::span<const float> weights, const GptqFactor& factor,
                                    std::span<const float> importance,
                                    const QuantizedLayout& layout, ThreadPool& pool) {
  const int64_t in = factor.width(), out = static_cast<int64_t>(weights.size()) / in;
  auto encoded = std::make_unique<EncodedMatrix>(out, in, layout);
  pool.ParallelFor(out, kRows, [&](int64_t begin, int64_t end, int /*worker*/) {
    for (int64_t row = begin; row < end; row += kRows) {
      RowBlock block(weights, factor, importance, layout, row, std::min(row + kRows, end));
      block.Round();
      block.Store(encoded.get());
    }
  });
  return encoded;
}

}  // namespace tessera::quantize
