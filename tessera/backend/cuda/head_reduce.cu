// Reduces chunks of logits, and merges what the chunks of a row leave.
#include <utility>

#include "tessera/backend/cuda/head_block.cuh"
#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {
namespace {

constexpr int kReduceThreads = 256;
constexpr int kQuads = kHeadChunk / kReduceThreads / 4;  // of a thread, in four neighbouring ids
constexpr int kValues = 4 * kQuads;
static_assert(kReduceThreads / 32 == kChunkParts);
constexpr int kMergeWarps = 8;

// Value i of this thread lies here in the chunk.
__device__ __forceinline__ int PlaceOfValue(int i) {
  return (i / 4 * kReduceThreads + static_cast<int>(threadIdx.x)) * 4 + i % 4;
}

// -inf behind `count`. `whole`: there is nothing behind, and memory is aligned.
__device__ __forceinline__ void LoadValues(const float* logits, int count, bool whole,
                                           float (&values)[kValues]) {
  if (whole) {
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      const float4 four = *reinterpret_cast<const float4*>(logits + PlaceOfValue(4 * quad));
      values[4 * quad] = four.x;
      values[4 * quad + 1] = four.y;
      values[4 * quad + 2] = four.z;
      values[4 * quad + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      values[i] = PlaceOfValue(i) < count ? logits[PlaceOfValue(i)] : -INFINITY;
    }
  }
}

// Suppresses, penalises and reads probes through shared memory. Returns the banned values, a bit
// each.
__device__ uint32_t EditValues(const HeadBatch& batch, const HeadRequest& request, int first,
                               int count, float (&values)[kValues]) {
  __shared__ float chunk[kHeadChunk];
  __shared__ uint32_t banned[kHeadChunk / 32];
  const int tid = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int i = 0; i < kValues; ++i) chunk[PlaceOfValue(i)] = values[i];
  for (int i = tid; i < kHeadChunk / 32; i += kReduceThreads) banned[i] = 0;
  __syncthreads();
  const int end = FirstEdit(batch, request, first + count);
  for (int e = FirstEdit(batch, request, first) + tid; e < end; e += kReduceThreads) {
    const uint32_t edit = batch.edits[e];
    const int at = static_cast<int>(edit / 8) - first;
    float value = chunk[at];
    if (edit & kSuppress) value = -INFINITY;
    if (edit & kPenalise) value = value > 0 ? value / request.penalty : value * request.penalty;
    chunk[at] = value;
    if (edit & kBan) atomicOr(&banned[at / 32], 1u << at % 32);
  }
  __syncthreads();
  for (int p = tid; p < request.probe_count; p += kReduceThreads) {
    const int at = batch.probes[request.probe_begin + p] - first;
    if (at >= 0 && at < count) batch.probe_logits[request.probe_begin + p] = chunk[at];
  }
  uint32_t mine = 0;
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    const int at = PlaceOfValue(i);
    values[i] = chunk[at];
    mine |= (banned[at / 32] >> at % 32 & 1) << i;
  }
  return mine;
}

// max.f32 as PTX has it: NaN if either is.
__device__ __forceinline__ float MaxOrNaN(float a, float b) {
  float max;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(max) : "f"(a), "f"(b));
  return max;
}
__device__ __forceinline__ float WarpMaxOrNaN(float value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    value = MaxOrNaN(value, __shfl_xor_sync(kAllLanes, value, lanes));
  }
  return value;
}

// The sums of a warp's values; there are few enough of them for f32.
__device__ __forceinline__ void SumValues(const float (&values)[kValues], HeadSums* sums) {
  float max = -INFINITY;
#pragma unroll
  for (int i = 0; i < kValues; ++i) max = MaxOrNaN(max, values[i]);
  max = WarpMaxOrNaN(max);
  sums->max = max < INFINITY ? max : NAN;
  const float base = max == -INFINITY ? 0 : max;
  float z = 0, s = 0;
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    // Below -104 exp is 0 in f32; the floor keeps -inf * 0 out of the sum.
    const float distance = fmaxf(values[i] - base, -104.0f);
    const float e = Exp2(distance * 1.442695041f);
    z += e;
    s = fmaf(distance, e, s);
  }
  sums->z = WarpReduce(z, SumOf());
  sums->s = WarpReduce(s, SumOf());
}

// The two best of a warp's values; -inf is none. Ids are looked for once the values are known.
__device__ __forceinline__ void RankValues(int first, const float (&values)[kValues],
                                           HeadSums* sums) {
  float mine = -INFINITY, next = -INFINITY;
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    next = fmaxf(next, fminf(mine, values[i]));
    mine = fmaxf(mine, values[i]);
  }
  // The lowest place of `value` but `taken`, a value of this thread.
  const auto lowest = [&](float value, int taken) {
    int at = kValues;
#pragma unroll
    for (int i = kValues - 1; i >= 0; --i) {
      if (values[i] == value && i != taken) at = i;
    }
    const auto place = static_cast<uint32_t>(at < kValues ? PlaceOfValue(at) : kHeadChunk);
    return std::pair(at, __reduce_min_sync(kAllLanes, place));
  };
  const float best = WarpReduce(mine, MaxOf());
  if (best == -INFINITY) return;
  const auto [at, place] = lowest(best, kValues);
  sums->best = KeyOf(best, first + static_cast<int>(place));
  const bool won = at < kValues && static_cast<uint32_t>(PlaceOfValue(at)) == place;
  const float second = WarpReduce(won ? next : mine, MaxOf());
  if (second == -INFINITY) return;
  sums->second = KeyOf(second, first + static_cast<int>(lowest(second, won ? at : kValues).second));
}

// A warp merges parts of a row. Rebasing every part to the common maximum:
//   Z = sum z e^(m - M),  S = sum e^(m - M) (s + (m - M) z).
__device__ HeadSums MergeParts(const HeadSums* parts, int count) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  float max = -INFINITY;
  HeadSums sums = {};
  Choice choice;
  for (int c = lane; c < count; c += 32) {
    const HeadSums& part = parts[c];
    max = MaxOrNaN(max, part.max);
    sums.second = ::max(::min(sums.best, part.best), ::max(sums.second, part.second));
    sums.best = ::max(sums.best, part.best);
    if (part.choice >= 0) choice.Offer(part.score, part.choice, part.choice_logit);
  }
  max = WarpMaxOrNaN(max);
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const RankKey best = __shfl_xor_sync(kAllLanes, sums.best, lanes);
    const RankKey second = __shfl_xor_sync(kAllLanes, sums.second, lanes);
    sums.second = ::max(::min(sums.best, best), ::max(sums.second, second));
    sums.best = ::max(sums.best, best);
    const double score = __shfl_xor_sync(kAllLanes, choice.score, lanes);
    const int32_t id = __shfl_xor_sync(kAllLanes, choice.id, lanes);
    const float logit = __shfl_xor_sync(kAllLanes, choice.logit, lanes);
    if (id >= 0) choice.Offer(score, id, logit);
  }
  for (int c = lane; c < count; c += 32) {
    const HeadSums& part = parts[c];
    if (part.max == -INFINITY) continue;
    const float shift = part.max - max, factor = expf(shift);
    sums.z += factor * part.z;
    sums.s += factor * (part.s + shift * part.z);
  }
  sums.z = WarpReduce(sums.z, SumOf());
  sums.s = WarpReduce(sums.s, SumOf());
  sums.max = max;
  sums.score = choice.score;
  sums.choice = choice.id;
  sums.choice_logit = choice.logit;
  return sums;
}

// `best`: of the warp's values; -inf is none.
__device__ Choice ChooseValue(const HeadRequest& request, int first, float best,
                              const float (&values)[kValues]) {
  const GumbelRace race(request.temperature, BlockReduce(best, -INFINITY, MaxOf()));
  float bounds[kValues];
  float least = INFINITY, least_value = -INFINITY;
  uint32_t least_word = 0;
#pragma unroll
  for (int quad = 0; quad < kQuads; ++quad) {
    const uint4 words =
        TokenWords(request, static_cast<uint32_t>(first + PlaceOfValue(4 * quad)) / 4);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int i = 4 * quad + j;
      bounds[i] = race.Bound(values[i], WordOf(words, j));
      if (values[i] > -INFINITY && bounds[i] < least) {
        least = bounds[i];
        least_value = values[i];
        least_word = WordOf(words, j);
      }
    }
  }
  const bool leads = BlockReduce(least, INFINITY, MinOf()) == least;
  const float limit =
      BlockReduce(leads ? race.Limit(least_value, least_word) : INFINITY, INFINITY, MinOf());
  uint32_t left = 0;  // a bit per value
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    if (values[i] > -INFINITY && !GumbelRace::Excludes(limit, bounds[i])) left |= 1u << i;
  }
  Choice choice;
  for (; left != 0; left &= left - 1) {
    const int at = __ffs(static_cast<int>(left)) - 1, id = first + PlaceOfValue(at);
    float value = 0;
#pragma unroll
    for (int i = 0; i < kValues; ++i) value = i == at ? values[i] : value;
    const uint4 words = TokenWords(request, static_cast<uint32_t>(id) / 4);
    choice.Offer(race.Score(value, WordOf(words, at % 4)), id, value);
  }
  return BestChoice(choice);
}

__global__ void __launch_bounds__(kReduceThreads, 4)
    ReduceChunk(const __grid_constant__ HeadBatch batch, const float* logits, int64_t stride,
                int32_t begin, int32_t slice) {
  AllowSuccessor();
  const HeadRequest request = batch.requests[blockIdx.y];
  const int offset = static_cast<int>(blockIdx.x) * kHeadChunk;
  const int first = begin + offset, count = min(kHeadChunk, slice - offset);
  const int chunk = first / kHeadChunk;
  const bool whole = stride % 4 == 0 && count == kHeadChunk;

  WaitForPredecessor();
  float values[kValues];
  LoadValues(logits + request.row * stride + offset, count, whole, values);
  if (request.guidance_row >= 0) {
    float unguided[kValues];
    LoadValues(logits + request.guidance_row * stride + offset, count, whole, unguided);
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      // LLaDA classifier-free guidance (methods/diffusion.md 1.3): u + (w + 1)(c - u), rounded as
      // on the host.
      if (PlaceOfValue(i) >= count) continue;
      values[i] = __fadd_rn(unguided[i],
                            __fmul_rn(request.guidance_factor, __fsub_rn(values[i], unguided[i])));
    }
  }
  uint32_t banned = 0;
  if (request.edit_count > 0 || request.probe_count > 0) {
    banned = EditValues(batch, request, first, count, values);
  }
  if (request.kept >= 0) {
    float* const kept =
        batch.kept + (static_cast<int64_t>(request.kept) * batch.chunks + chunk) * kHeadChunk;
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      *reinterpret_cast<float4*>(kept + PlaceOfValue(4 * quad)) = {
          values[4 * quad], values[4 * quad + 1], values[4 * quad + 2], values[4 * quad + 3]};
    }
  }

  HeadSums sums = {};
  SumValues(values, &sums);
  if (banned != 0) {
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      if ((banned >> i & 1) != 0) values[i] = -INFINITY;
    }
  }
  RankValues(first, values, &sums);
  Choice choice;  // of the block, told by its first warp
  if (request.temperature > 0 && request.kept < 0) {
    const float best =
        sums.best != 0 ? OrderedValue(static_cast<uint32_t>(sums.best >> 32)) : -INFINITY;
    choice = ChooseValue(request, first, best, values);
  }
  if (request.top_list >= 0) {
    ListBest(
        request.top_n,
        [&](RankKey limit) {
          RankKey best = 0;
#pragma unroll
          for (int i = 0; i < kValues; ++i) {
            if (!(values[i] > -INFINITY)) continue;
            const RankKey key = KeyOf(values[i], first + PlaceOfValue(i));
            if (key < limit && key > best) best = key;
          }
          return best;
        },
        batch.partial_tops +
            (static_cast<int64_t>(request.top_list) * batch.chunks + chunk) * kHeadTop);
  }
  const int warp = static_cast<int>(threadIdx.x / 32);
  if (threadIdx.x % 32 != 0) return;
  sums.score = choice.score;
  sums.choice = warp == 0 ? choice.id : -1;
  sums.choice_logit = choice.logit;
  batch.partials[(static_cast<int64_t>(blockIdx.y) * batch.chunks + chunk) * kChunkParts + warp] =
      sums;
}

// A block per request: each warp merges a run of parts, the first then what the warps have.
__global__ void __launch_bounds__(kMergeWarps * 32)
    MergeSums(const __grid_constant__ HeadBatch batch) {
  __shared__ HeadSums merged[kMergeWarps];
  AllowSuccessor();
  WaitForPredecessor();
  const int warp = static_cast<int>(threadIdx.x / 32), count = batch.chunks * kChunkParts;
  const HeadSums* const parts = batch.partials + static_cast<int64_t>(blockIdx.x) * count;
  const int begin = warp * count / kMergeWarps, end = (warp + 1) * count / kMergeWarps;
  HeadSums sums = MergeParts(parts + begin, end - begin);
  if (threadIdx.x % 32 == 0) merged[warp] = sums;
  __syncthreads();
  if (warp != 0) return;
  sums = MergeParts(merged, kMergeWarps);
  if (threadIdx.x == 0) batch.sums[blockIdx.x] = sums;
}

__global__ void __launch_bounds__(kReduceThreads)
    MergeTops(const __grid_constant__ HeadBatch batch) {
  AllowSuccessor();
  WaitForPredecessor();
  const HeadRequest& request = batch.requests[blockIdx.x];
  if (request.top_list < 0) return;
  const RankKey* const parts =
      batch.partial_tops + static_cast<int64_t>(request.top_list) * batch.chunks * kHeadTop;
  ListBest(
      request.top_n,
      [&](RankKey limit) {
        RankKey best = 0;
        for (int i = static_cast<int>(threadIdx.x); i < batch.chunks * kHeadTop;
             i += kReduceThreads) {
          if (i % kHeadTop >= request.top_n) continue;
          if (parts[i] < limit && parts[i] > best) best = parts[i];
        }
        return best;
      },
      batch.tops + static_cast<int64_t>(request.top_list) * kHeadTop);
}

}  // namespace

Status ReduceSlice(Stream stream, const HeadBatch& batch, const float* logits, int64_t stride,
                   int64_t begin, int64_t count) {
  const dim3 grid(static_cast<unsigned>((count + kHeadChunk - 1) / kHeadChunk),
                  static_cast<unsigned>(batch.count));
  return LaunchOverlapped("reducing logits", ReduceChunk, grid, kReduceThreads, 0, stream, batch,
                          logits, stride, static_cast<int32_t>(begin), static_cast<int32_t>(count));
}

Status MergeChunks(Stream stream, const HeadBatch& batch) {
  const auto blocks = static_cast<unsigned>(batch.count);
  TESSERA_RETURN_IF_ERROR(LaunchOverlapped("merging chunks of logits", MergeSums, blocks,
                                           kMergeWarps * 32, 0, stream, batch));
  if (batch.lists == 0) return OkStatus();
  return LaunchOverlapped("merging lists of the best ids", MergeTops, blocks, kReduceThreads, 0,
                          stream, batch);
}

}  // namespace tessera::cuda
