// What the head's kernels share: reductions of a block, order of logits, noise.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "tessera/backend/cuda/head_kernels.h"

namespace tessera::cuda {

inline constexpr uint32_t kAllLanes = 0xffffffffu;

struct MaxOf {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return ::max(a, b);
  }
};
struct MinOf {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return ::min(a, b);
  }
};
struct SumOf {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

template <typename T, typename Op>
__device__ __forceinline__ T WarpReduce(T value, Op op) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    value = op(value, __shfl_xor_sync(kAllLanes, value, lanes));
  }
  return value;
}

// The same value in all threads; every thread must call it. `op` is commutative, so that the
// exchange gives every lane the same bits.
template <typename T, typename Op>
__device__ __forceinline__ T BlockReduce(T value, T identity, Op op) {
  __shared__ T parts[32];
  const int warps = static_cast<int>(blockDim.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  value = WarpReduce(value, op);
  __syncthreads();  // the call before may still read
  if (lane == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  return WarpReduce(lane < warps ? parts[lane] : identity, op);
}

// The sum of this thread's value and those of all threads before it; every thread must call it.
template <typename T>
__device__ __forceinline__ T BlockScan(T value) {
  __shared__ T parts[32];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const T before = __shfl_up_sync(kAllLanes, value, lanes);
    if (lane >= lanes) value += before;
  }
  __syncthreads();  // the call before may still read
  if (lane == 31) parts[warp] = value;
  __syncthreads();
  for (int i = 0; i < warp; ++i) value += parts[i];
  return value;
}

// 2^value to 22 bits or so, 0 below 2^-126.
__device__ __forceinline__ float Exp2(float value) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
  return result;
}

// Order of floats as integers, -0 like +0.
__device__ __forceinline__ uint32_t OrderedBits(float value) {
  const uint32_t bits = __float_as_uint(__fadd_rn(value, 0.0f));
  return bits & 0x80000000u ? ~bits : bits ^ 0x80000000u;
}
__device__ __forceinline__ float OrderedValue(uint32_t ordered) {
  return __uint_as_float(BitsOfOrdered(ordered));
}
__device__ __forceinline__ RankKey KeyOf(float value, int32_t id) {
  return RankKey{OrderedBits(value)} << 32 | ~static_cast<uint32_t>(id);
}

// Lists the `n` best keys in out, 0 where there are no more. `best_below(key)` is the largest of
// this thread's keys below `key`.
template <typename BestBelow>
__device__ void ListBest(int32_t n, const BestBelow& best_below, RankKey* out) {
  RankKey mine = best_below(~RankKey{0});
  for (int32_t i = 0; i < n; ++i) {
    const RankKey best = BlockReduce(mine, RankKey{0}, MaxOf());
    if (threadIdx.x == 0) out[i] = best;
    if (best != 0 && mine == best) mine = best_below(best);
  }
}

// --- Noise: the words of RandomWords(key, RngPurpose::kToken, block), base/rng.h -----------------

__device__ __forceinline__ uint4 TokenWords(const HeadRequest& request, uint32_t block) {
  constexpr uint32_t kPurposeToken = 1;  // RngPurpose::kToken
  uint4 c = {block, request.position, request.step, kPurposeToken};
  uint32_t k0 = static_cast<uint32_t>(request.seed);
  uint32_t k1 = static_cast<uint32_t>(request.seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
    c = {high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}
__device__ __forceinline__ uint32_t WordOf(const uint4& words, int i) {
  return i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
}

// Choosing the largest logit / temperature - log E with E = -log u is the race of exponentials with
// the smallest E exp((best - logit) / temperature). A bound that costs one exponential excludes all
// but a few ids, which are compared in double precision.
class GumbelRace {
 public:
  // `best`: the largest logit that takes part, or a larger one.
  __device__ GumbelRace(double temperature, float best)
      : temperature_(temperature), inverse_(static_cast<float>(1 / temperature)), best_(best) {}

  // At most the id's time. With y = 1 - u, rounded down: E = -log(1 - y) >= y + y^2 / 2. May be
  // NaN: such an id is not excluded.
  __device__ float Bound(float logit, uint32_t word) const {
    const float y = __uint_as_float(0x3f800000u | ~word >> 9) - 1;
    return fmaf(0.5f * y, y, y) * Handicap(logit);
  }
  // What the bounds of all faster ids are below. Where f32 nears its limits, nothing is.
  __device__ float Limit(float logit, uint32_t word) const {
    if (!(inverse_ < 1e37f)) return INFINITY;
    const float e = word < 0x80000000u ? -logf((static_cast<float>(word) + 0.5f) * 0x1p-32f)
                                       : -log1pf((static_cast<float>(~word) + 0.5f) * -0x1p-32f);
    return 1.001f * e * Handicap(logit);
  }
  __device__ static bool Excludes(float limit, float bound) { return bound > limit; }
  __device__ double Score(float logit, uint32_t word) const {
    return logit / temperature_ - log(-log((word + 0.5) * 0x1p-32));
  }

 private:
  __device__ float Handicap(float logit) const {
    return Exp2((best_ - logit) * inverse_ * 1.442695041f);
  }

  double temperature_;
  float inverse_, best_;
};

struct Choice {
  double score = -INFINITY;
  int32_t id = -1;
  float logit = 0;

  __device__ void Offer(double other_score, int32_t other_id, float other_logit) {
    if (id < 0 || other_score > score || (other_score == score && other_id < id)) {
      score = other_score;
      id = other_id;
      logit = other_logit;
    }
  }
};

// The best choice of all threads; every thread must call it.
__device__ inline Choice BestChoice(Choice mine) {
  __shared__ float logit;
  const double score = BlockReduce(mine.score, -static_cast<double>(INFINITY), MaxOf());
  const int32_t none = 0x7fffffff;
  const int32_t id =
      BlockReduce(mine.id >= 0 && mine.score == score ? mine.id : none, none, MinOf());
  if (id == mine.id) logit = mine.logit;
  __syncthreads();
  return id == none ? Choice() : Choice{score, id, logit};
}

// --- Edits ---------------------------------------------------------------------------------------

// The first of the request's edits whose id is not below `id`.
__device__ __forceinline__ int32_t FirstEdit(const HeadBatch& batch, const HeadRequest& request,
                                             int32_t id) {
  int32_t low = request.edit_begin, high = low + request.edit_count;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (static_cast<int32_t>(batch.edits[middle] / 8) < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

__device__ __forceinline__ bool IsBanned(const HeadBatch& batch, const HeadRequest& request,
                                         int32_t id) {
  const int32_t at = FirstEdit(batch, request, id);
  return at < request.edit_begin + request.edit_count &&
         static_cast<int32_t>(batch.edits[at] / 8) == id && (batch.edits[at] & kBan) != 0;
}

}  // namespace tessera::cuda
