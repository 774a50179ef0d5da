// Element-wise, norm and logit kernels as templates over the vector type of an instruction-set
// level. One fixed summation order per row; see op_kernels.h for the contracts.
#pragma once

#include <math.h>
#include <stdint.h>

#include "tessera/backend/cpu/op_kernels.h"
#include "tessera/backend/cpu/vec_math.h"

namespace tessera::cpu {

template <typename V>
void RmsNormRow(const float* x, const float* weight, float eps, int64_t width, float* out) {
  using F = typename V::F;
  // Four chains hide the latency of the additions.
  F sum[4] = {V::Set(0), V::Set(0), V::Set(0), V::Set(0)};
  int64_t i = 0;
  for (; i + 4 * V::kLanes <= width; i += 4 * V::kLanes) {
    for (int c = 0; c < 4; ++c) {
      const F value = V::Load(x + i + c * V::kLanes);
      sum[c] = V::Fma(value, value, sum[c]);
    }
  }
  float total = V::ReduceAdd(V::Add(V::Add(sum[0], sum[1]), V::Add(sum[2], sum[3])));
  float rest = 0;
  for (; i < width; ++i) rest += x[i] * x[i];
  total += rest;
  const float scale = 1 / sqrtf(total / static_cast<float>(width) + eps);
  const F scales = V::Set(scale);
  for (i = 0; i + V::kLanes <= width; i += V::kLanes) {
    V::Store(out + i, V::Mul(V::Mul(V::Load(x + i), scales), V::Load(weight + i)));
  }
  for (; i < width; ++i) out[i] = x[i] * scale * weight[i];
}

// One vector of silu(gate) * up.
template <typename V>
inline typename V::F SiluMulVec(typename V::F gate, typename V::F up) {
  const typename V::F one = V::Set(1);
  const typename V::F e = Exp<V>(V::Sub(V::Set(0), gate));
  return V::Mul(V::Div(gate, V::Add(one, e)), up);
}

template <typename V>
void SiluMulRow(const float* gate, const float* up, int64_t width, float* out) {
  int64_t i = 0;
  for (; i + V::kLanes <= width; i += V::kLanes) {
    V::Store(out + i, SiluMulVec<V>(V::Load(gate + i), V::Load(up + i)));
  }
  if (i == width) return;
  float g[V::kLanes] = {}, u[V::kLanes] = {}, o[V::kLanes];
  for (int64_t j = i; j < width; ++j) {
    g[j - i] = gate[j];
    u[j - i] = up[j];
  }
  V::Store(o, SiluMulVec<V>(V::Load(g), V::Load(u)));
  for (int64_t j = i; j < width; ++j) out[j] = o[j - i];
}

template <typename V>
void AddScaledRow(const float* x, float scale, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] += scale * x[i];
}

template <typename V>
void GuideRow(const float* c, const float* u, float scale, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = u[i] + scale * (c[i] - u[i]);
}

template <typename V>
void ExpRow(const float* logits, int64_t n, float max, float scale, float* out) {
  using F = typename V::F;
  const F shift = V::Set(max), factor = V::Set(scale);
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    V::Store(out + i, Exp<V>(V::Mul(V::Sub(V::Load(logits + i), shift), factor)));
  }
  if (i == n) return;
  float rest[V::kLanes] = {};
  for (int64_t j = i; j < n; ++j) rest[j - i] = logits[j];
  V::Store(rest, Exp<V>(V::Mul(V::Sub(V::Load(rest), shift), factor)));
  for (int64_t j = i; j < n; ++j) out[j] = rest[j - i];
}

template <typename V>
ChunkSums SumChunk(const float* logits, int64_t n) {
  using F = typename V::F;
  F top = V::Set(-__builtin_inff());
  uint32_t nan = 0;
  for (int64_t i = 0; i < n; i += V::kLanes) {
    const F l = V::Load(logits + i);
    nan |= V::MaskNaN(l);
    top = V::Max(l, top);
  }
  const float max = V::ReduceMax(top);
  if (nan != 0 || max == __builtin_inff()) return {__builtin_nanf(""), 0, 0};
  if (max == -__builtin_inff()) return {max, 0, 0};
  // Below -104 exp is 0 in f32; the floor keeps -inf * 0 out of the sum.
  const F shift = V::Set(max), floor = V::Set(-104.0f);
  F z = V::Set(0), s = V::Set(0);
  for (int64_t i = 0; i < n; i += V::kLanes) {
    const F d = V::Max(V::Sub(V::Load(logits + i), shift), floor);
    const F e = Exp<V>(d);
    z = V::Add(z, e);
    s = V::Fma(d, e, s);
  }
  return {max, V::ReduceAdd(z), V::ReduceAdd(s)};
}

// Inserts in front of the first entry it beats.
template <typename V>
inline void OfferTop(float value, int32_t id, TopList* top) {
  int32_t at = top->size;
  while (at > 0 &&
         (value > top->value[at - 1] || (value == top->value[at - 1] && id < top->id[at - 1]))) {
    --at;
  }
  if (at == top->capacity) return;
  if (top->size < top->capacity) ++top->size;
  for (int32_t i = top->size - 1; i > at; --i) {
    top->value[i] = top->value[i - 1];
    top->id[i] = top->id[i - 1];
  }
  top->value[at] = value;
  top->id[at] = id;
}

template <typename V>
void UpdateTop(const float* logits, int64_t n, int32_t first_id, TopList* top) {
  for (int64_t i = 0; i < n; i += V::kLanes) {
    const typename V::F l = V::Load(logits + i);
    uint32_t bits = top->size == top->capacity
                        ? V::MaskLessEqual(V::Set(top->value[top->capacity - 1]), l)
                        : V::MaskLess(V::Set(-__builtin_inff()), l);
    for (; bits != 0; bits &= bits - 1) {
      const int64_t j = i + __builtin_ctz(bits);
      OfferTop<V>(logits[j], first_id + static_cast<int32_t>(j), top);
    }
  }
}

// Philox 4x32-10 for the 16 blocks first .. first + 15, as in base/rng.h (whose inline functions a
// flagged file must not instantiate); words of block b are words[b + 16 * i], i = 0 .. 3.
template <typename V>
inline void PhiloxBlocks(const NoiseKey& key, uint32_t first, uint32_t purpose, uint32_t* words) {
  uint32_t* const c0 = words;
  uint32_t* const c1 = words + 16;
  uint32_t* const c2 = words + 32;
  uint32_t* const c3 = words + 48;
  for (uint32_t b = 0; b < 16; ++b) {
    c0[b] = first + b;
    c1[b] = key.position;
    c2[b] = key.step;
    c3[b] = purpose;
  }
  uint32_t k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int b = 0; b < 16; ++b) {
      const uint64_t p0 = uint64_t{0xD2511F53} * c0[b];
      const uint64_t p1 = uint64_t{0xCD9E8D57} * c2[b];
      const uint32_t x1 = c1[b], x3 = c3[b];
      c0[b] = static_cast<uint32_t>(p1 >> 32) ^ x1 ^ k0;
      c1[b] = static_cast<uint32_t>(p1);
      c2[b] = static_cast<uint32_t>(p0 >> 32) ^ x3 ^ k1;
      c3[b] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
}

// Gumbel noise g of a uniform u obeys g = -log(-log u) <= -log(1 - u), so an id with tempered logit
// t can only reach `best` if 1 - u <= exp(t - best). That f32 test, with slack for its rounding,
// leaves about log(vocabulary) ids for the exact comparison in double precision.
template <typename V>
void UpdateChoice(const float* logits, int64_t n, int32_t first_id, double temperature,
                  const NoiseKey& key, GumbelChoice* choice) {
  using F = typename V::F;
  constexpr uint32_t kPurposeToken = 1;  // RngPurpose::kToken
  constexpr float kMaxNoise = 23;        // -log(-log(1 - 2^-33)) = 22.9
  const float inverse = static_cast<float>(1 / temperature);
  for (int64_t group = 0; group < n; group += 64) {
    F top = V::Set(-__builtin_inff());
    for (int i = 0; i < 64; i += V::kLanes) top = V::Max(V::Load(logits + group + i), top);
    const float group_max = V::ReduceMax(top) * inverse;
    if (group_max == -__builtin_inff()) continue;
    float best = static_cast<float>(choice->score);
    // Covers the rounding of best, of the scaled logits and of their difference.
    const float size = fabsf(best) + fabsf(group_max);
    const float slack = 1e-4f + 1e-6f * size;
    // Before the first candidate, and where f32 nears its limits, every id is compared exactly.
    const bool prune = choice->id >= 0 && size < 1e30f;
    if (prune && group_max + kMaxNoise + slack < best) continue;
    uint32_t words[64];
    const uint32_t first_block = static_cast<uint32_t>((first_id + group) / 4);
    PhiloxBlocks<V>(key, first_block, kPurposeToken, words);
    float survival[64];  // 1 - u, in id order
    for (int b = 0; b < 16; ++b) {
      for (int w = 0; w < 4; ++w) {
        survival[4 * b + w] = static_cast<float>(~words[b + 16 * w]) * 0x1p-32f;
      }
    }
    for (int i = 0; i < 64; i += V::kLanes) {
      const float* const at = logits + group + i;
      uint32_t bits = (1u << V::kLanes) - 1;
      if (prune) {
        best = static_cast<float>(choice->score);
        const F t = V::Mul(V::Load(at), V::Set(inverse));
        const F bound =
            V::Mul(Exp<V>(V::Add(V::Sub(t, V::Set(best)), V::Set(slack))), V::Set(1.00001f));
        bits = V::MaskLessEqual(V::Load(survival + i), bound);
      }
      for (; bits != 0; bits &= bits - 1) {
        const int j = i + __builtin_ctz(bits);
        OfferChoice(logits[group + j], first_id + static_cast<int32_t>(group) + j, temperature,
                    words[j / 4 + 16 * (j % 4)], choice);
      }
    }
  }
}

// The table of the level whose vector type is V.
template <typename V>
constexpr OpKernels MakeOpKernels(const char* name, void (*attention)(const AttentionTile&)) {
  return {.name = name,
          .attention = attention,
          .rms_norm = RmsNormRow<V>,
          .silu_mul = SiluMulRow<V>,
          .add_scaled = AddScaledRow<V>,
          .guide = GuideRow<V>,
          .exp_row = ExpRow<V>,
          .chunk_sums = SumChunk<V>,
          .update_top = UpdateTop<V>,
          .update_choice = UpdateChoice<V>};
}

}  // namespace tessera::cpu
