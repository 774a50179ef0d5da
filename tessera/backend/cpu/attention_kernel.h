// Attention over paged K/V as a template over the vector type of an instruction-set level.
//
// Online softmax (Milakov and Gimelshein, 2018; FlashAttention, Dao et al., 2022, algorithm 1) with
// one rescaling per page. K pages are stored with the slot as the fastest index so that scores need
// no horizontal sums; V pages with the channel as the fastest. Every score is one chain over
// channels and every output one chain over slots, whatever the register tile: 1-lane and 4-lane
// tiles give the same bits.
#pragma once

#include <stdint.h>

#include "tessera/backend/cpu/op_kernels.h"
#include "tessera/backend/cpu/vec_math.h"

namespace tessera::cpu {

inline constexpr float kMinusInfinity = -__builtin_inff();

// Cache lines of the next page that are fetched while this one is worked on: without that, one
// core waits for memory half of the time at 1 row.
struct Prefetch {
  const char* k;
  const char* v;
  int32_t lines;     // of each
  int32_t per_step;  // lines per step of two channels
};

// kLanes elements of an f32 or int8 page.
template <typename V, int kBits>
inline typename V::F LoadElements(const char* page, int64_t index) {
  if constexpr (kBits == 8) {
    return V::LoadInt8(reinterpret_cast<const int8_t*>(page) + index);
  } else {
    return V::Load(reinterpret_cast<const float*>(page) + index);
  }
}

// The scales of an int8 head, one per slot.
inline const float* KvScales(const char* head, int32_t padded_dim) {
  return reinterpret_cast<const float*>(head + int64_t{kPageSlots} * padded_dim);
}

// scores[r, slot] = q[r] . k[:, slot] for R lanes and C vectors of slots.
template <typename V, int kBits, int R, int C>
inline void ScoreColumns(const float* q, int32_t head_dim, int32_t padded_dim, const char* k,
                         int slot, float* scores, const Prefetch& next) {
  using F = typename V::F;
  F sum[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) sum[r][c] = V::Set(0);
  }
  int32_t line = 0;
  for (int32_t d = 0; d < head_dim; d += 2) {
    for (int32_t end = line + next.per_step; line < end && line < next.lines; ++line) {
      __builtin_prefetch(next.k + line * 64, 0, 2);
      __builtin_prefetch(next.v + line * 64, 0, 2);
    }
    F even[C], odd[C];  // channels d and d + 1
    for (int c = 0; c < C; ++c) {
      const int at = slot + c * V::kLanes;
      if constexpr (kBits == 16) {
        V::LoadBf16Pair(reinterpret_cast<const uint16_t*>(k) + d * kPageSlots + 2 * at, &even[c],
                        &odd[c]);
      } else {
        even[c] = LoadElements<V, kBits>(k, d * kPageSlots + at);
        odd[c] = LoadElements<V, kBits>(k, (d + 1) * kPageSlots + at);
      }
    }
    for (int r = 0; r < R; ++r) {
      const F query = V::Set(q[r * head_dim + d]);
      for (int c = 0; c < C; ++c) sum[r][c] = V::Fma(query, even[c], sum[r][c]);
    }
    if (d + 1 == head_dim) break;  // the odd half is padding
    for (int r = 0; r < R; ++r) {
      const F query = V::Set(q[r * head_dim + d + 1]);
      for (int c = 0; c < C; ++c) sum[r][c] = V::Fma(query, odd[c], sum[r][c]);
    }
  }
  for (int c = 0; c < C; ++c) {
    const int at = slot + c * V::kLanes;
    if constexpr (kBits == 8) {
      const F scale = V::Load(KvScales(k, padded_dim) + at);
      for (int r = 0; r < R; ++r) sum[r][c] = V::Mul(sum[r][c], scale);
    }
    for (int r = 0; r < R; ++r) V::Store(scores + r * kPageSlots + at, sum[r][c]);
  }
}

template <typename V, int kBits, int R>
inline void Scores(const float* q, int32_t head_dim, int32_t padded_dim, const char* k,
                   float* scores, const Prefetch& next) {
  for (int slot = 0; slot < kPageSlots; slot += V::kTileColumns * V::kLanes) {
    // The first pass over k fetches all.
    ScoreColumns<V, kBits, R, V::kTileColumns>(q, head_dim, padded_dim, k, slot, scores,
                                               slot == 0 ? next : Prefetch{});
  }
}

// First channel of a vector of V. bf16 vectors come in pairs (even, odd halves of 32-bit words)
// that lie 16 channels apart.
template <typename V, int kBits>
inline int ChannelOf(int vector) {
  if constexpr (kBits != 16) return vector * V::kLanes;
  constexpr int kPairs = 16 / V::kLanes;  // pairs of vectors in a block of 32 channels
  const int pair = vector / 2;
  return pair / kPairs * 32 + pair % kPairs * V::kLanes + vector % 2 * 16;
}

// sums[r] = sums[r] * rescale[r] + sum over the listed slots of p[r, slot] * v[slot], for C vectors
// of channels.
template <typename V, int kBits, int R, int C>
inline void ValueColumns(const float* p, const float* rescale, const uint8_t* slots, int num_slots,
                         const char* v, int32_t padded_dim, int vector, float* sums) {
  using F = typename V::F;
  F sum[R][C];
  for (int r = 0; r < R; ++r) {
    const F factor = V::Set(rescale[r]);
    for (int c = 0; c < C; ++c) {
      const int channel = ChannelOf<V, kBits>(vector + c);
      sum[r][c] = V::Mul(V::Load(sums + r * padded_dim + channel), factor);
    }
  }
  for (int i = 0; i < num_slots; ++i) {
    F value[C];
    const int64_t row = int64_t{slots[i]} * padded_dim;
    if constexpr (kBits == 16) {
      for (int c = 0; c < C; c += 2) {
        V::LoadBf16Pair(reinterpret_cast<const uint16_t*>(v) + row + (vector + c) * V::kLanes,
                        &value[c], &value[c + 1]);
      }
    } else {
      for (int c = 0; c < C; ++c) {
        value[c] = LoadElements<V, kBits>(v, row + (vector + c) * V::kLanes);
      }
    }
    for (int r = 0; r < R; ++r) {
      const F weight = V::Set(p[r * kPageSlots + slots[i]]);
      for (int c = 0; c < C; ++c) sum[r][c] = V::Fma(weight, value[c], sum[r][c]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      V::Store(sums + r * padded_dim + ChannelOf<V, kBits>(vector + c), sum[r][c]);
    }
  }
}

template <typename V, int kBits, int R>
inline void Values(const float* p, const float* rescale, uint64_t mask, const char* v,
                   int32_t padded_dim, float* sums) {
  // Hidden slots are skipped, not multiplied by 0: they may hold NaN left by an earlier sequence.
  uint8_t slots[kPageSlots];
  int num_slots = 0;
  for (uint64_t rest = mask; rest != 0; rest &= rest - 1) {
    slots[num_slots++] = static_cast<uint8_t>(__builtin_ctzll(rest));
  }
  constexpr int kStep = V::kTileColumns;
  constexpr int kRest = kBits == 16 ? 2 : 1;
  const int vectors = padded_dim / V::kLanes;
  int vector = 0;
  for (; vector + kStep <= vectors; vector += kStep) {
    ValueColumns<V, kBits, R, kStep>(p, rescale, slots, num_slots, v, padded_dim, vector, sums);
  }
  for (; vector < vectors; vector += kRest) {
    ValueColumns<V, kBits, R, kRest>(p, rescale, slots, num_slots, v, padded_dim, vector, sums);
  }
}

// Turns scores [kPageSlots] of one lane into probabilities relative to the new running maximum;
// returns the factor for what was summed before.
template <typename V>
inline float Softmax(uint64_t mask, float* scores, float* running_max, float* running_sum) {
  using F = typename V::F;
  constexpr uint32_t kLaneBits = (1u << V::kLanes) - 1;
  F top = V::Set(kMinusInfinity);
  for (int slot = 0; slot < kPageSlots; slot += V::kLanes) {
    const uint32_t bits = static_cast<uint32_t>(mask >> slot) & kLaneBits;
    const F score = V::Select(bits, V::Load(scores + slot), V::Set(kMinusInfinity));
    V::Store(scores + slot, score);
    top = V::Max(score, top);
  }
  const float page_max = V::ReduceMax(top);
  const float old_max = *running_max;
  const float new_max = page_max > old_max ? page_max : old_max;
  const F shift = V::Set(new_max);
  F sum = V::Set(0);
  for (int slot = 0; slot < kPageSlots; slot += V::kLanes) {
    const uint32_t bits = static_cast<uint32_t>(mask >> slot) & kLaneBits;
    const F p = V::Select(bits, Exp<V>(V::Sub(V::Load(scores + slot), shift)), V::Set(0));
    V::Store(scores + slot, p);
    sum = V::Add(sum, p);
  }
  const float rescale = old_max != kMinusInfinity ? V::First(Exp<V>(V::Set(old_max - new_max))) : 0;
  *running_max = new_max;
  *running_sum = *running_sum * rescale + V::ReduceAdd(sum);
  return rescale;
}

template <int R>
struct Rows {};

// Calls visit(Rows<R>(), first) for register tiles that cover lanes [begin, end).
template <typename V, typename Visit>
inline void ForTiles(int32_t begin, int32_t end, const Visit& visit) {
  int32_t first = begin;
  for (; first + V::kTileRows <= end; first += V::kTileRows) visit(Rows<V::kTileRows>(), first);
  for (; first + 2 <= end; first += 2) visit(Rows<2>(), first);
  for (; first < end; ++first) visit(Rows<1>(), first);
}

template <typename V, int kBits>
inline void AttendTile(const AttentionTile& tile) {
  const int32_t lanes = tile.lanes, dim = tile.head_dim, padded = tile.padded_dim;
  float* const sums = tile.scratch;                          // [kMaxLanes, padded]
  float* const scores = sums + int64_t{kMaxLanes} * padded;  // [kMaxLanes, kPageSlots]
  float running_max[kMaxLanes], running_sum[kMaxLanes], rescale[kMaxLanes];
  bool seen[kMaxLanes];
  for (int32_t i = 0; i < lanes; ++i) {
    running_max[i] = kMinusInfinity;
    running_sum[i] = 0;
    seen[i] = false;
  }
  for (int64_t i = 0; i < int64_t{lanes} * padded; ++i) sums[i] = 0;
  const int32_t bytes = kPageSlots * (padded * kBits / 8 + (kBits == 8 ? 4 : 0));
  const int32_t lines = bytes / 64;  // of K and of V each
  const int32_t steps = (dim + 1) / 2;

  for (int32_t page = 0; page < tile.num_pages; ++page) {
    const uint64_t* const masks = tile.masks + page * tile.mask_stride;
    const char* const k = tile.k[page] + tile.head_offset;
    const char* const v = tile.v[page] + tile.head_offset;
    // After the last page: itself, which costs little, being in a cache.
    const int32_t next_page = page + 1 < tile.num_pages ? page + 1 : page;
    const char* const next_k = tile.k[next_page] + tile.head_offset;
    const char* const next_v = tile.v[next_page] + tile.head_offset;
    for (int32_t begin = 0, end = 0; begin < lanes; begin = end) {
      // Lanes that see the same slots: all of K, then all of V, so that each stays in L1.
      const uint64_t mask = masks[tile.lane_mask[begin]];
      for (end = begin + 1; end < lanes && masks[tile.lane_mask[end]] == mask;) ++end;
      if (mask == 0) continue;
      ForTiles<V>(begin, end, [&]<int R>(Rows<R>, int32_t first) {
        // Lanes share the fetching of the next page: a tile takes the lines of its own lanes.
        const int32_t line = lines * first / lanes, count = lines * (first + R) / lanes - line;
        const Prefetch next = {next_k + line * 64, next_v + line * 64, count,
                               (count + steps - 1) / steps};
        Scores<V, kBits, R>(tile.q + int64_t{first} * dim, dim, padded, k,
                            scores + first * kPageSlots, next);
      });
      for (int32_t i = begin; i < end; ++i) {
        float* const p = scores + i * kPageSlots;
        rescale[i] = Softmax<V>(mask, p, &running_max[i], &running_sum[i]);
        if constexpr (kBits == 8) {  // so that what is left to multiply is codes
          const float* const scales = KvScales(v, padded);
          for (int slot = 0; slot < kPageSlots; slot += V::kLanes) {
            V::Store(p + slot, V::Mul(V::Load(p + slot), V::Load(scales + slot)));
          }
        }
        seen[i] = true;
      }
      ForTiles<V>(begin, end, [&]<int R>(Rows<R>, int32_t first) {
        Values<V, kBits, R>(scores + first * kPageSlots, rescale + first, mask, v, padded,
                            sums + int64_t{first} * padded);
      });
    }
  }
  for (int32_t i = 0; i < lanes; ++i) {
    for (int32_t d = 0; d < dim; ++d) {
      tile.out[i][d] = seen[i] ? sums[int64_t{i} * padded + d] / running_sum[i] : 0;
    }
  }
}

template <typename V>
void Attend(const AttentionTile& tile) {
  switch (tile.kv_bits) {
    case 8: return AttendTile<V, 8>(tile);
    case 16: return AttendTile<V, 16>(tile);
    default: return AttendTile<V, 32>(tile);
  }
}

}  // namespace tessera::cpu
