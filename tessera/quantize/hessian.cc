#include "tessera/quantize/hessian.h"

#include <Eigen/Core>
#include <algorithm>

namespace tessera::quantize {
namespace {

// Rows per product: enough that reading and writing H costs little beside them.
constexpr int64_t kRows = 1024;
// Output features per product of OutputErrors: fixed, so that sums do not depend on timing.
constexpr int64_t kFeatures = 32;
// Tile of the transposition, so that both sides stay in the first-level cache.
constexpr int64_t kTile = 32;

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void Transpose(const float* from, int64_t rows, int64_t width, float* to) {
  for (int64_t i = 0; i < rows; i += kTile) {
    for (int64_t j = 0; j < width; j += kTile) {
      for (int64_t a = i; a < std::min(i + kTile, rows); ++a) {
        for (int64_t b = j; b < std::min(j + kTile, width); ++b) {
          to[b * rows + a] = from[a * width + b];
        }
      }
    }
  }
}

}  // namespace

Status Hessian::Add(int64_t rows, const float* x) {
  if (buffer_.empty()) buffer_.resize(static_cast<size_t>(kRows * width_));
  rows_ += rows;
  while (rows > 0) {
    const int64_t count = std::min(rows, kRows - buffered_);
    std::copy(x, x + count * width_, buffer_.begin() + buffered_ * width_);
    buffered_ += count;
    x += count * width_;
    rows -= count;
    if (buffered_ == kRows) TESSERA_RETURN_IF_ERROR(Flush());
  }
  return OkStatus();
}

Status Hessian::Flush() {
  const bool first = sum_ == nullptr;
  if (first) {
    TESSERA_ASSIGN_OR_RETURN(
        sum_, device_.Allocate(static_cast<size_t>(width_ * width_) * sizeof(float)));
    std::fill_n(static_cast<float*>(sum_->data), width_ * width_, 0.0f);
  }
  if (buffered_ == 0) return OkStatus();
  std::vector<float> columns(static_cast<size_t>(buffered_ * width_));  // X^T [width, rows]
  Transpose(buffer_.data(), buffered_, width_, columns.data());
  const TensorView view{
      reinterpret_cast<const std::byte*>(columns.data()), DType::kF32, {width_, buffered_}};
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<ops::Matrix> packed,
                           device_.Pack({.parts = {view}, .format = format_}));
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<ops::DeviceBuffer> rows, device_.Upload(columns));
  buffered_ = 0;
  return device_.Linear({.rows = width_,
                         .x = static_cast<const float*>(rows->data),
                         .weight = packed.get(),
                         .bias = nullptr,
                         .y = static_cast<float*>(sum_->data),
                         .accumulate = true});
}

Status Hessian::Finish() {
  TESSERA_RETURN_IF_ERROR(Flush());
  buffer_ = {};
  float* h = static_cast<float*>(sum_->data);
  for (int64_t i = 0; i < width_; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      const float mean = (h[i * width_ + j] + h[j * width_ + i]) / 2;
      h[i * width_ + j] = h[j * width_ + i] = mean;
    }
  }
  return OkStatus();
}

std::vector<float> Hessian::Diagonal() const {
  std::vector<float> diagonal(static_cast<size_t>(width_));
  for (int64_t i = 0; i < width_; ++i) diagonal[static_cast<size_t>(i)] = this->diagonal(i);
  return diagonal;
}

std::vector<double> OutputErrors(std::span<const float> errors, const Hessian& hessian,
                                 ThreadPool& pool) {
  const int64_t in = hessian.width(), out = static_cast<int64_t>(errors.size()) / in;
  const Eigen::Map<const Matrix> h(hessian.values(), in, in);
  const Eigen::Map<const Matrix> e(errors.data(), out, in);
  std::vector<double> sums(static_cast<size_t>(out));
  pool.ParallelFor(out, kFeatures, [&](int64_t begin, int64_t end, int /*worker*/) {
    for (int64_t first = begin; first < end; first += kFeatures) {
      const int64_t count = std::min(kFeatures, end - first);
      const Matrix product = e.middleRows(first, count) * h;
      for (int64_t row = first; row < first + count; ++row) {
        const double sum = product.row(row - first).cast<double>().dot(e.row(row).cast<double>());
        sums[static_cast<size_t>(row)] = std::max(0.0, sum);
      }
    }
  });
  return sums;
}

}  // namespace tessera::quantize
