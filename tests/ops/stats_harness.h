// Running HeadStats on logits that are given exactly.
#pragma once

#include <vector>

#include "tests/ops/harness.h"

namespace tessera::ops_test {

// Rows of logits [vocab] behind a one-hot head: the f32 product returns each logit unchanged.
// Rows must be finite; see SingleRow for others.
class LogitRows {
 public:
  LogitRows(ops::Device& device, const std::vector<std::vector<float>>& rows)
      : device_(device), rows_(static_cast<int64_t>(rows.size())), vocab_(rows[0].size()) {
    std::vector<float> head(vocab_ * rows_);
    hidden_.assign(rows_ * rows_, 0);
    for (int64_t r = 0; r < rows_; ++r) {
      hidden_[r * rows_ + r] = 1;
      for (size_t v = 0; v < vocab_; ++v) head[v * rows_ + r] = rows[r][v];
    }
    head_ = PackFloats(device, head, static_cast<int64_t>(vocab_), rows_);
  }

  std::vector<ops::RowStats> Stats(const std::vector<ops::RowRequest>& requests) {
    std::vector<ops::RowStats> stats(requests.size());
    for (ops::RowStats& row : stats) row.p1 = row.entropy = -1, row.top = {{7, 7.f}};  // stale
    const Status status = device_.HeadStats({.rows = rows_,
                                             .hidden = hidden_.data(),
                                             .head = head_.get(),
                                             .requests = requests,
                                             .stats = stats});
    TESSERA_CHECK(status.ok());
    return stats;
  }

 private:
  ops::Device& device_;
  int64_t rows_;
  size_t vocab_;
  std::vector<float> hidden_;
  std::unique_ptr<ops::Matrix> head_;
};

inline ops::RowStats SingleRow(ops::Device& device, const std::vector<float>& logits,
                               const ops::SamplingSpec& spec, ops::RowRequest request = {}) {
  request.sampling = &spec;
  return LogitRows(device, {logits}).Stats({request})[0];
}

}  // namespace tessera::ops_test
