// H = X^T X of the rows that a linear saw: what calibrated rounding minimises the error under.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/device.h"

namespace tessera::quantize {

// Accumulates on the device, whose product of a packed matrix and rows is the fastest one there
// is; rows are multiplied in the format of the weights, as the forward itself does.
class Hessian {
 public:
  Hessian(int64_t width, ops::WeightFormat format, ops::Device& device)
      : width_(width), format_(format), device_(device) {}

  int64_t width() const { return width_; }
  int64_t rows() const { return rows_; }

  // x [rows, width], readable by the host.
  Status Add(int64_t rows, const float* x);
  // Adds what is still buffered, makes H exactly symmetric and frees what only Add needs.
  Status Finish();

  // [width, width] after Finish().
  const float* values() const { return static_cast<const float*>(sum_->data); }
  float diagonal(int64_t i) const { return values()[i * width_ + i]; }
  std::vector<float> Diagonal() const;

 private:
  Status Flush();

  int64_t width_;
  ops::WeightFormat format_;
  ops::Device& device_;
  int64_t rows_ = 0, buffered_ = 0;
  std::vector<float> buffer_;  // [kRows, width]
  std::unique_ptr<ops::DeviceBuffer> sum_;
};

// error H error^T for each row of errors [out, in]: the squared length of the error of each output
// feature over the rows that H has seen.
std::vector<double> OutputErrors(std::span<const float> errors, const Hessian& hessian,
                                 ThreadPool& pool);

}  // namespace tessera::quantize
