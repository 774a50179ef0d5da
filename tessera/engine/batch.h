// Merges the plans of several sequences into one forward and splits the results again.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/engine/sequence.h"
#include "tessera/models/model.h"

namespace tessera::engine {

class Batch {
 public:
  // Appends the current plan of `sequence`; both must outlive the forward. Passes of the joint
  // layer and forwards go into batches of their own.
  void Add(const Sequence& sequence);
  void Clear();

  int32_t rows() const { return static_cast<int32_t>(tokens_.size()); }
  models::ForwardInput Input() const;
  std::span<const ops::RowRequest> requests() const { return requests_; }
  std::span<ops::RowStats> stats() { return stats_; }
  // Results of the index-th added sequence, in the order of its plan's out rows.
  std::span<const ops::RowStats> StatsOf(size_t index) const;

 private:
  int32_t OutIndex(int32_t row);

  std::vector<TokenId> tokens_;
  std::vector<int32_t> positions_, slots_;
  std::vector<ops::AttentionGroup> groups_;
  std::vector<int32_t> out_rows_;
  std::vector<ops::RowRequest> requests_;
  std::vector<ops::RowStats> stats_;
  std::vector<size_t> stats_begin_;  // per added sequence
  bool keep_hidden_ = false, joint_ = false;
};

}  // namespace tessera::engine
