// Kernels that reduce slices of logits to a few numbers per request: launchers and what they share
// with HeadReducer. What every number means is written at ops::ref::Reduce.
//
// A slice of logits is cut into chunks of kHeadChunk ids, one block each per request. Chunks leave
// partial sums, which are merged in an order that only the vocabulary decides.
#pragma once

#include <cstdint>

#include "tessera/backend/cuda/kernels.h"

namespace tessera::cuda {

inline constexpr int32_t kHeadChunk = 4096;
inline constexpr int32_t kChunkParts = 8;               // partial sums of a chunk
inline constexpr int64_t kHeadSlice = 16 * kHeadChunk;  // features of one product
inline constexpr int32_t kHeadTop = 64;                 // longest list of best ids
static_assert(kHeadSlice % kBand == 0);

// What happens to one id of a request: id * 8 + flags. The edits of a request ascend, each id once.
enum HeadEditFlag : uint32_t { kSuppress = 1, kPenalise = 2, kBan = 4 };

struct HeadRequest {
  int32_t row, guidance_row;  // of the logits in hand; guidance_row -1: none
  float guidance_factor;      // scale + 1
  float penalty;
  double temperature;  // 0: no choice
  uint64_t seed;
  uint32_t position, step;
  int32_t edit_begin, edit_count;
  int32_t probe_begin, probe_count;
  int32_t top_list, top_n;  // top_list -1: no list, the two best suffice
  // -1, or where the row's edited logits are kept to be tempered and filtered, which then decides
  // the choice.
  int32_t kept;
  int32_t top_k;  // 0: off
  float top_p;
  int32_t top_p_first;  // 1: before top-k
  double min_p_floor;   // largest distance from the maximum, negative; -inf: off
};

// A value and its id as one number, so that larger is better and ties go to the lower id; 0: none.
using RankKey = uint64_t;

// Sums over a chunk or a whole row: z = sum exp(l - max), s = sum (l - max) exp(l - max).
struct HeadSums {
  double z, s;
  double score;          // of the choice
  RankKey best, second;  // of ids that are not banned
  float max;             // -inf: nothing but -inf; NaN: NaN or +inf among the logits
  int32_t choice;        // -1: none
  float choice_logit;
};

// The tempered, filtered distribution of a row; see cpu::FilteredRow.
struct FilteredSums {
  double z, s;  // over the kept ids: sum w and sum (l - max) w, w = exp((l - max) / temperature)
  float last_logit;
  int32_t last_id;
  int32_t choice;
  float choice_logit;
};

// Requests whose logits come from the same rows.
struct HeadBatch {
  const HeadRequest* requests = nullptr;  // [count]
  const uint32_t* edits = nullptr;
  const int32_t* probes = nullptr;
  int32_t count = 0;
  int32_t lists = 0, kept_rows = 0;  // requests with a list of best ids, with kept logits
  int32_t chunks = 0;                // of the vocabulary
  HeadSums* partials = nullptr;      // [count][chunks][kChunkParts]
  RankKey* partial_tops = nullptr;   // [lists][chunks][kHeadTop]
  float* kept = nullptr;             // [kept_rows][chunks * kHeadChunk]
  HeadSums* sums = nullptr;          // [count]
  RankKey* tops = nullptr;           // [lists][kHeadTop]
  FilteredSums* filtered = nullptr;  // [kept_rows]
  float* probe_logits = nullptr;     // by HeadRequest::probe_begin
};

// Reduces logits[row * stride + id - begin] of the ids [begin, begin + count); begin is a multiple
// of kHeadChunk.
Status ReduceSlice(Stream stream, const HeadBatch& batch, const float* logits, int64_t stride,
                   int64_t begin, int64_t count);
// Once all slices are reduced: sums and tops.
Status MergeChunks(Stream stream, const HeadBatch& batch);
// After MergeChunks, for the requests with kept logits.
Status FilterRows(Stream stream, const HeadBatch& batch);

// --- Keys, on either side ------------------------------------------------------------------------

TESSERA_HD inline int32_t IdOfKey(RankKey key) {
  return static_cast<int32_t>(~static_cast<uint32_t>(key));
}
// Floats in the order of their values.
TESSERA_HD inline uint32_t BitsOfOrdered(uint32_t ordered) {
  return ordered & 0x80000000u ? ordered ^ 0x80000000u : ~ordered;
}

}  // namespace tessera::cuda
