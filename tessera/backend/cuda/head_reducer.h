// The LM head reduced to RowStats on the GPU.
//
// The head is multiplied in slices of kHeadSlice features, whatever the number of rows, into one
// block of [rows of a tile, slice] that is reduced before the next slice overwrites it: memory
// grows with rows, not with rows x vocabulary. Only rows whose distribution is tempered or filtered
// keep all of their logits, for a bounded number of requests at a time.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "tessera/backend/cuda/head_kernels.h"
#include "tessera/backend/cuda/memory.h"
#include "tessera/ops/device.h"

namespace tessera::cuda {

// Rows in device memory, as the head's format wants them.
struct HeadRows {
  const BF16* packed = nullptr;   // packed activations of PaddedRows(rows)
  const float* hidden = nullptr;  // [rows, in], for a head of type kF32
};

// Owns memory that grows to what the largest call needed. One call at a time.
class HeadReducer {
 public:
  explicit HeadReducer(const Gpu& gpu) : gpu_(gpu) {}

  // Device::HeadStats, with `hidden` in device memory; waits for the result.
  Status Run(Stream stream, const WeightView& head, const ops::HeadStatsArgs& args);

  // The same in three parts:
  // Allocates, and uploads what is asked for. Requests, with all they point to, must live until
  // Collect.
  Status Prepare(Stream stream, const WeightView& head, int64_t rows,
                 std::span<const ops::RowRequest> requests);
  // Only launches and a copy into pinned memory, so that it can be recorded; of as many rows as
  // Prepare was told.
  Status Enqueue(Stream stream, const HeadRows& x);
  // Once the stream has done that.
  Status Collect(std::span<ops::RowStats> stats) const;

 private:
  struct EditRange {  // of edits_
    int32_t begin = 0, count = 0;
  };
  // What a spec edits whatever the row, and together with the history met last.
  struct SpecEdits {
    EditRange edits, with_history;
    std::span<const ops::TokenId> history;
  };
  // Requests in the order of order_, whose rows lie in one tile.
  struct Batch {
    int64_t tile;
    size_t begin, count;
    size_t list_begin, lists;  // among all requests with a list
    size_t kept_begin, kept;   // among all requests with kept logits
  };
  // Byte offsets in the block of tables and in that of results.
  struct Layout {
    size_t requests, edits, probes, tables_end;
    size_t sums, tops, filtered, probe_logits, results_end;
  };

  EditRange EditsOf(const ops::RowRequest& request);
  void Plan(std::span<const ops::RowRequest> requests);
  Status Reserve(Stream stream);
  Status Multiply(Stream stream, const HeadRows& x, int64_t tile, int64_t begin, int64_t count,
                  int64_t stride);
  HeadBatch BatchOnGpu(const Batch& batch) const;
  ops::RowStats Finish(const HeadRequest& placed, const ops::RowRequest& request,
                       const HeadSums& sums, const FilteredSums* filtered, const RankKey* top,
                       const float* probe_logits) const;
  int64_t chunks() const { return RoundUp(head_.out, kHeadChunk) / kHeadChunk; }

  const Gpu gpu_;
  WeightView head_;
  int64_t rows_ = 0, padded_rows_ = 0, tile_rows_ = 0;
  std::span<const ops::RowRequest> requests_;
  std::unordered_map<const ops::SamplingSpec*, SpecEdits> specs_;
  std::vector<size_t> order_;        // requests by tile
  std::vector<HeadRequest> placed_;  // in that order
  std::vector<uint32_t> edits_;
  std::vector<int32_t> probes_;
  std::vector<Batch> batches_;
  size_t lists_ = 0, kept_ = 0;
  Layout layout_ = {};
  PinnedMemory host_tables_, host_results_;
  DeviceMemory tables_, results_, logits_, partials_, partial_tops_, kept_logits_;
  DeviceMemory packed_, linear_scratch_;
};

}  // namespace tessera::cuda
