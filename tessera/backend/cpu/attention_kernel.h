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

// scores[r, slot] = q[r] . k[:, slot] for R lanes and C vectors of slots.
template <typename V, int R, int C>
inline void ScoreColumns(const float* q, int32_t head_dim, const float* k, float* scores) {
  typename V::F sum[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) sum[r][c] = V::Set(0);
  }
  for (int32_t d = 0; d < head_dim; ++d) {
    typename V::F key[C];
    for (int c = 0; c < C; ++c) key[c] = V::Load(k + d * kPageSlots + c * V::kLanes);
    for (int r = 0; r < R; ++r) {
      const typename V::F query = V::Set(q[r * head_dim + d]);
      for (int c = 0; c < C; ++c) sum[r][c] = V::Fma(query, key[c], sum[r][c]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) V::Store(scores + r * kPageSlots + c * V::kLanes, sum[r][c]);
  }
}

template <typename V, int R>
inline void Scores(const float* q, int32_t head_dim, const float* k, float* scores) {
  constexpr int kStep = V::kTileColumns * V::kLanes;
  for (int slot = 0; slot < kPageSlots; slot += kStep) {
    ScoreColumns<V, R, V::kTileColumns>(q, head_dim, k + slot, scores + slot);
  }
}

// sums[r] = sums[r] * rescale[r] + sum over the listed slots of p[r, slot] * v[slot], C vectors of
// channels wide.
template <typename V, int R, int C>
inline void ValueColumns(const float* p, const float* rescale, const uint8_t* slots, int num_slots,
                         const float* v, int32_t padded_dim, float* sums) {
  typename V::F sum[R][C];
  for (int r = 0; r < R; ++r) {
    const typename V::F factor = V::Set(rescale[r]);
    for (int c = 0; c < C; ++c) {
      sum[r][c] = V::Mul(V::Load(sums + r * padded_dim + c * V::kLanes), factor);
    }
  }
  for (int i = 0; i < num_slots; ++i) {
    const float* value_row = v + slots[i] * padded_dim;
    typename V::F value[C];
    for (int c = 0; c < C; ++c) value[c] = V::Load(value_row + c * V::kLanes);
    for (int r = 0; r < R; ++r) {
      const typename V::F weight = V::Set(p[r * kPageSlots + slots[i]]);
      for (int c = 0; c < C; ++c) sum[r][c] = V::Fma(weight, value[c], sum[r][c]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) V::Store(sums + r * padded_dim + c * V::kLanes, sum[r][c]);
  }
}

template <typename V, int R>
inline void Values(const float* p, const float* rescale, uint64_t mask, const float* v,
                   int32_t padded_dim, float* sums) {
  // Hidden slots are skipped, not multiplied by 0: they may hold NaN left by an earlier sequence.
  uint8_t slots[kPageSlots];
  int num_slots = 0;
  for (uint64_t rest = mask; rest != 0; rest &= rest - 1) {
    slots[num_slots++] = static_cast<uint8_t>(__builtin_ctzll(rest));
  }
  constexpr int kStep = V::kTileColumns * V::kLanes;
  int32_t channel = 0;
  for (; channel + kStep <= padded_dim; channel += kStep) {
    ValueColumns<V, R, V::kTileColumns>(p, rescale, slots, num_slots, v + channel, padded_dim,
                                        sums + channel);
  }
  for (; channel < padded_dim; channel += V::kLanes) {
    ValueColumns<V, R, 1>(p, rescale, slots, num_slots, v + channel, padded_dim, sums + channel);
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
  const float page_max = ReduceMax<V>(top);
  const float old_max = *running_max;
  const float new_max = page_max > old_max ? page_max : old_max;
  const F shift = V::Set(new_max);
  F sum = V::Set(0);
  for (int slot = 0; slot < kPageSlots; slot += V::kLanes) {
    const uint32_t bits = static_cast<uint32_t>(mask >> slot) & kLaneBits;
    const F p =
        V::Select(bits, Exp<V>(V::Sub(V::Load(scores + slot), shift)), V::Set(0));
    V::Store(scores + slot, p);
    sum = V::Add(sum, p);
  }
  float rescale = 0;
  if (old_max != kMinusInfinity) {
    float lane[V::kLanes];
    V::Store(lane, Exp<V>(V::Set(old_max - new_max)));
    rescale = lane[0];
  }
  *running_max = new_max;
  *running_sum = *running_sum * rescale + ReduceAdd<V>(sum);
  return rescale;
}

template <typename V>
inline const float* Expand(const void* page, int64_t count, bool bf16, float* buffer) {
  if (!bf16) return static_cast<const float*>(page);
  const uint16_t* bits = static_cast<const uint16_t*>(page);
  for (int64_t i = 0; i < count; i += V::kLanes) V::Store(buffer + i, V::LoadBf16(bits + i));
  return buffer;
}

template <typename V>
void AttendTile(const AttentionTile& tile) {
  const int32_t lanes = tile.lanes, dim = tile.head_dim, padded = tile.padded_dim;
  float* const sums = tile.scratch;                             // [kMaxLanes, padded]
  float* const scores = sums + int64_t{kMaxLanes} * padded;     // [kMaxLanes, kPageSlots]
  float* const k_buffer = scores + kMaxLanes * kPageSlots;      // [dim, kPageSlots]
  float* const v_buffer = k_buffer + int64_t{kPageSlots} * padded;  // [kPageSlots, padded]
  float running_max[kMaxLanes], running_sum[kMaxLanes], rescale[kMaxLanes];
  uint64_t mask[kMaxLanes];
  bool seen[kMaxLanes];
  for (int32_t i = 0; i < lanes; ++i) {
    running_max[i] = kMinusInfinity;
    running_sum[i] = 0;
    seen[i] = false;
  }
  for (int64_t i = 0; i < int64_t{lanes} * padded; ++i) sums[i] = 0;

  for (int32_t page = 0; page < tile.num_pages; ++page) {
    uint64_t any = 0;
    for (int32_t i = 0; i < lanes; ++i) {
      mask[i] = tile.masks[page * tile.mask_stride + tile.lane_mask[i]];
      any |= mask[i];
    }
    if (any == 0) continue;
    const float* k =
        Expand<V>(tile.k[page] + tile.head_offset, int64_t{kPageSlots} * dim, tile.bf16 != 0,
                  k_buffer);
    const float* v =
        Expand<V>(tile.v[page] + tile.head_offset, int64_t{kPageSlots} * padded, tile.bf16 != 0,
                  v_buffer);
    for (int32_t i = 0; i < lanes;) {
      const bool four = i + 4 <= lanes && mask[i] != 0 && mask[i] == mask[i + 1] &&
                        mask[i] == mask[i + 2] && mask[i] == mask[i + 3];
      const int count = four ? 4 : 1;
      if (mask[i] == 0) {
        ++i;
        continue;
      }
      float* const p = scores + i * kPageSlots;
      const float* const q = tile.q + int64_t{i} * dim;
      if (four) {
        Scores<V, 4>(q, dim, k, p);
      } else {
        Scores<V, 1>(q, dim, k, p);
      }
      for (int32_t r = i; r < i + count; ++r) {
        rescale[r] = Softmax<V>(mask[r], scores + r * kPageSlots, &running_max[r], &running_sum[r]);
        seen[r] = true;
      }
      float* const sum = sums + int64_t{i} * padded;
      if (four) {
        Values<V, 4>(p, rescale + i, mask[i], v, padded, sum);
      } else {
        Values<V, 1>(p, rescale + i, mask[i], v, padded, sum);
      }
      i += count;
    }
  }
  for (int32_t i = 0; i < lanes; ++i) {
    for (int32_t d = 0; d < dim; ++d) {
      tile.out[i][d] = seen[i] ? sums[int64_t{i} * padded + d] / running_sum[i] : 0;
    }
  }
}

}  // namespace tessera::cpu
