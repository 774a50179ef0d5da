// The LM head reduced to RowStats without keeping [rows, vocab] logits.
//
// The vocabulary is cut into fixed chunks. A worker computes a chunk's logits for all rows, edits a
// copy per request (guidance, suppression, penalty) and reduces it at once:
//   sums      max, Z and S per chunk, merged in chunk order, so that the result does not depend on
//             which worker had which chunk;
//   rankings  argmax, second, top_n and the Gumbel-max choice have a total order (value, then lower
//             id), so each worker keeps its own best and merging needs no order.
// Requests whose statistics or choice need a filtered or tempered distribution keep their own row
// of logits (filtered_row.h). What every number means is written at ops::ref::Reduce.
#pragma once

#include <cstdint>
#include <vector>

#include "tessera/backend/cpu/filtered_row.h"
#include "tessera/backend/cpu/linear.h"
#include "tessera/backend/cpu/op_kernels.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/device.h"

namespace tessera::cpu {

// Owns the scratch memory of HeadStats; one call at a time.
class HeadReducer {
 public:
  void Run(const ops::HeadStatsArgs& args, const LinearKernels& linear, const OpKernels& kernels,
           ThreadPool& pool);

 private:
  // Ids a spec bans or suppresses, ascending, without repeats.
  struct SortedSpec {
    const ops::SamplingSpec* spec;
    std::vector<ops::TokenId> banned, suppressed;
  };
  // A request of the batch in hand.
  struct Job {
    const ops::RowRequest* request;
    ops::RowStats* stats;
    const SortedSpec* sorted;
    std::vector<ops::TokenId> history;                     // ascending, without repeats
    std::vector<std::pair<ops::TokenId, int32_t>> probes;  // (id, index in request), ascending
    std::vector<float> probe_logits;
    int64_t row, guidance_row;  // in the compact hidden rows
    float* kept_row;            // [vocab] or null
    bool samples;               // the chunks make the choice
  };
  // What one worker knows about one request.
  struct Partial {
    TopList top;
    GumbelChoice choice;
  };

  void RunBatch(const ops::HeadStatsArgs& args, std::span<Job> jobs, const LinearKernels& linear,
                const OpKernels& kernels, ThreadPool& pool);
  void ReduceChunk(Job& job, int64_t chunk, int64_t vocab, const float* logits, int64_t stride,
                   const OpKernels& kernels, Partial& partial, float* scratch);
  GumbelChoice ChooseKept(const Job& job, const FilteredRow& filtered, int64_t vocab,
                          const OpKernels& kernels) const;
  void Finish(const Job& job, std::span<const ChunkSums> sums, std::span<Partial* const> partials,
              int64_t vocab, const OpKernels& kernels, RowFilter& filter) const;

  std::vector<SortedSpec> specs_;
  std::vector<Job> jobs_;
  std::vector<Partial> partials_;  // [workers, jobs]
  std::vector<ChunkSums> sums_;    // [jobs, chunks]
  std::vector<float> hidden_;      // compact rows of a batch
  std::vector<float> kept_rows_;
  std::vector<RowFilter> filters_;  // one per worker
  Buffer logits_;                   // [workers, rows, kChunk] and an edited chunk per worker
  Scratch packed_;
};

}  // namespace tessera::cpu
