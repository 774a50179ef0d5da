// The kernel table of every operation except the linear ones: one table per instruction-set level.
//
// Plain structs and function pointers only, so that files built with instruction-set flags can
// include this header. All pointers may have any alignment unless a comment says otherwise.
#pragma once

#include <stdint.h>

namespace tessera::cpu {

// Slots of a K/V page; equals ops::kPageRows, which flagged files must not include.
inline constexpr int32_t kPageSlots = 64;

// One head of a page is padded to a multiple of this many channels, so that kernels have no channel
// remainder: two vectors of bf16, one of everything else.
inline constexpr int32_t kChannelPad = 16;
inline constexpr int32_t kChannelPadBf16 = 32;

// Query vectors ("lanes": rows x heads that share a K/V head) a tile may hold. 64 lanes of 128
// channels keep queries, probabilities and sums within half of a 256 KB L2.
inline constexpr int32_t kMaxLanes = 64;

// Attention of up to kMaxLanes query vectors over the same pages of one K/V head. Pages are visited
// in the order given; within a page keys are summed in slot order. A page whose mask is 0 for a
// lane leaves that lane untouched, so results do not depend on which other lanes share the tile.
struct AttentionTile {
  int32_t lanes;
  int32_t head_dim;
  int32_t padded_dim;  // head_dim rounded up to the padding of the storage type
  int32_t kv_bits;     // of an element in the pages: 32 f32, 16 bf16, 8 signed bytes with scales
  const float* q;      // [lanes, head_dim], already scaled
  int32_t num_pages;
  int64_t head_offset;   // bytes from the start of a page to this K/V head
  const char* const* k;  // [num_pages] -> a K page, a V page: layouts in kv_pages.h
  const char* const* v;
  const uint64_t* masks;  // [num_pages, mask_stride]: bit s = slot s of the page is visible
  int64_t mask_stride;
  const int32_t* lane_mask;  // [lanes]: column of a lane in masks
  float* scratch;            // AttentionScratchFloats(padded_dim), 64-byte aligned
  float* const* out;         // [lanes] -> [head_dim]; zeros if no key is visible
};

// Sums and probabilities of each lane.
static constexpr int64_t AttentionScratchFloats(int32_t padded_dim) {
  return int64_t{kMaxLanes} * (padded_dim + kPageSlots);
}

// Sums over one chunk of a row of logits: z = sum exp(l - max), s = sum (l - max) exp(l - max).
struct ChunkSums {
  float max;  // -inf: nothing but -inf; NaN: the chunk holds NaN or +inf
  float z;
  float s;
};

// The best entries seen so far, ordered by value descending, then id ascending. -inf never enters.
inline constexpr int32_t kMaxTop = 66;
struct TopList {
  int32_t capacity;
  int32_t size;
  float value[kMaxTop];
  int32_t id[kMaxTop];
};

// Gumbel-max choice so far: the id with the largest logit / temperature + noise, lowest id on ties.
struct GumbelChoice {
  double score;  // -inf before the first candidate
  float logit;
  int32_t id;  // -1 before the first candidate
};
struct NoiseKey {
  uint64_t seed;
  uint32_t position;
  uint32_t step;
};

struct OpKernels {
  const char* name;
  void (*attention)(const AttentionTile& tile);
  // out = x * weight / sqrt(mean(x^2) + eps); out may alias x.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t width, float* out);
  void (*silu_mul)(const float* gate, const float* up, int64_t width, float* out);
  // out += scale * x
  void (*add_scaled)(const float* x, float scale, int64_t n, float* out);
  // out = u + scale * (c - u)
  void (*guide)(const float* c, const float* u, float scale, int64_t n, float* out);
  // out = exp((logits - max) * scale)
  void (*exp_row)(const float* logits, int64_t n, float max, float scale, float* out);
  // n is a multiple of 16; pad with -inf.
  ChunkSums (*chunk_sums)(const float* logits, int64_t n);
  // Offers logits[i] with id first_id + i; n is a multiple of 16.
  void (*update_top)(const float* logits, int64_t n, int32_t first_id, TopList* top);
  // Offers logits[i] with id first_id + i, -inf excepted; n and first_id are multiples of 64.
  void (*update_choice)(const float* logits, int64_t n, int32_t first_id, double temperature,
                        const NoiseKey& key, GumbelChoice* choice);
};

// Called by kernels for the few ids that may win: double precision, built without ISA flags.
void OfferChoice(float logit, int32_t id, double temperature, uint32_t word, GumbelChoice* choice);

namespace generic {
extern const OpKernels kOpKernels;
}
namespace avx2 {
extern const OpKernels kOpKernels;
}
namespace avx512 {
extern const OpKernels kOpKernels;
}

}  // namespace tessera::cpu
