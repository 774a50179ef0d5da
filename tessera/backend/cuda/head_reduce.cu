// Reduces chunks of logits, and merges what the chunks of a row leave.
#include "tessera/backend/cuda/head_block.cuh"
#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {
namespace {

constexpr int kReduceThreads = 256;
constexpr int kQuads = kHeadChunk / kReduceThreads / 4;  // of a thread, in four neighbouring ids
constexpr int kValues = 4 * kQuads;
constexpr int kMergeRows = 4;  // requests of one block, a warp each

// Value i of this thread lies here in the chunk.
__device__ __forceinline__ int PlaceOfValue(int i) {
  return (i / 4 * kReduceThreads + static_cast<int>(threadIdx.x)) * 4 + i % 4;
}

// -inf behind `count`.
__device__ __forceinline__ void LoadValues(const float* logits, int count, bool aligned,
                                           float (&values)[kValues]) {
#pragma unroll
  for (int quad = 0; quad < kQuads; ++quad) {
    const int at = PlaceOfValue(4 * quad);
    float4 four = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    if (aligned && at + 4 <= count) {
      four = *reinterpret_cast<const float4*>(logits + at);
    } else {
      if (at < count) four.x = logits[at];
      if (at + 1 < count) four.y = logits[at + 1];
      if (at + 2 < count) four.z = logits[at + 2];
      if (at + 3 < count) four.w = logits[at + 3];
    }
    values[4 * quad] = four.x;
    values[4 * quad + 1] = four.y;
    values[4 * quad + 2] = four.z;
    values[4 * quad + 3] = four.w;
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

__device__ void BestTwo(RankKey* best, RankKey* second) {
  __shared__ RankKey parts[2][kReduceThreads / 32];
  RankKey a = *best, b = *second;
  const auto merge = [&](RankKey c, RankKey d) {
    b = max(min(a, c), max(b, d));
    a = max(a, c);
  };
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    merge(__shfl_xor_sync(kAllLanes, a, lanes), __shfl_xor_sync(kAllLanes, b, lanes));
  }
  if (threadIdx.x % 32 == 0) {
    parts[0][threadIdx.x / 32] = a;
    parts[1][threadIdx.x / 32] = b;
  }
  __syncthreads();
  a = b = 0;
#pragma unroll
  for (int warp = 0; warp < kReduceThreads / 32; ++warp) merge(parts[0][warp], parts[1][warp]);
  *best = a;
  *second = b;
}

__device__ Choice ChooseValue(const HeadRequest& request, int first, uint32_t banned,
                              const float (&values)[kValues]) {
  const GumbelScore score(request.temperature);
  float rough[kValues];
  float best = -INFINITY;
#pragma unroll
  for (int quad = 0; quad < kQuads; ++quad) {
    const uint4 words =
        TokenWords(request, static_cast<uint32_t>(first + PlaceOfValue(4 * quad)) / 4);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int i = 4 * quad + j;
      rough[i] = score.Rough(values[i], WordOf(words, j));
      const bool eligible = values[i] > -INFINITY && (banned >> i & 1) == 0;
      if (eligible) best = fmaxf(best, rough[i]);
    }
  }
  const float threshold = score.Threshold(BlockReduce(best, -INFINITY, MaxOf()));
  Choice choice;
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    const bool eligible = values[i] > -INFINITY && (banned >> i & 1) == 0;
    if (!eligible || !GumbelScore::Passes(rough[i], threshold)) continue;
    const int id = first + PlaceOfValue(i);
    const uint4 words = TokenWords(request, static_cast<uint32_t>(id) / 4);
    choice.Offer(score.Exact(values[i], WordOf(words, i % 4)), id, values[i]);
  }
  return BestChoice(choice);
}

__global__ void __launch_bounds__(kReduceThreads)
    ReduceChunk(HeadBatch batch, const float* logits, int64_t stride, int32_t begin,
                int32_t slice) {
  const HeadRequest& request = batch.requests[blockIdx.y];
  const int offset = static_cast<int>(blockIdx.x) * kHeadChunk;
  const int first = begin + offset, count = min(kHeadChunk, slice - offset);
  const int chunk = first / kHeadChunk;
  const bool aligned = stride % 4 == 0;

  float values[kValues];
  LoadValues(logits + request.row * stride + offset, count, aligned, values);
  if (request.guidance_row >= 0) {
    float unguided[kValues];
    LoadValues(logits + request.guidance_row * stride + offset, count, aligned, unguided);
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

  float max = -INFINITY;
  bool invalid = false;
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    invalid |= !(values[i] < INFINITY);
    max = fmaxf(max, values[i]);
  }
  invalid = __syncthreads_or(invalid) != 0;
  max = BlockReduce(max, -INFINITY, MaxOf());

  HeadSums sums = {};
  sums.max = invalid ? NAN : max;
  sums.choice = -1;
  const bool empty = invalid || max == -INFINITY;
  if (!empty) {
    // Below -104 exp is 0 in f32; the floor keeps -inf * 0 out of the sum.
    float z = 0, s = 0;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const float distance = fmaxf(values[i] - max, -104.0f);
      const float e = expf(distance);
      z += e;
      s += distance * e;
    }
    sums.z = BlockReduce(double{z}, 0.0, SumOf());
    sums.s = BlockReduce(double{s}, 0.0, SumOf());
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const bool eligible = values[i] > -INFINITY && (banned >> i & 1) == 0;
      const RankKey key = eligible ? KeyOf(values[i], first + PlaceOfValue(i)) : 0;
      if (key > sums.best) {
        sums.second = sums.best;
        sums.best = key;
      } else if (key > sums.second) {
        sums.second = key;
      }
    }
    BestTwo(&sums.best, &sums.second);
    if (request.temperature > 0 && request.kept < 0) {
      const Choice choice = ChooseValue(request, first, banned, values);
      sums.score = choice.score;
      sums.choice = choice.id;
      sums.choice_logit = choice.logit;
    }
  }
  if (request.top_list >= 0) {
    ListBest(
        request.top_n,
        [&](RankKey limit) {
          RankKey best = 0;
          if (empty) return best;
#pragma unroll
          for (int i = 0; i < kValues; ++i) {
            if (!(values[i] > -INFINITY) || (banned >> i & 1) != 0) continue;
            const RankKey key = KeyOf(values[i], first + PlaceOfValue(i));
            if (key < limit && key > best) best = key;
          }
          return best;
        },
        batch.partial_tops +
            (static_cast<int64_t>(request.top_list) * batch.chunks + chunk) * kHeadTop);
  }
  if (threadIdx.x == 0) {
    batch.partials[static_cast<int64_t>(blockIdx.y) * batch.chunks + chunk] = sums;
  }
}

// A warp per request. Merging rebases every chunk to the common maximum:
//   Z = sum z e^(m - M),  S = sum e^(m - M) (s + (m - M) z).
__global__ void __launch_bounds__(kMergeRows * 32) MergeSums(HeadBatch batch) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int index = static_cast<int>(blockIdx.x * kMergeRows + threadIdx.x / 32);
  if (index >= batch.count) return;
  const HeadSums* const parts = batch.partials + static_cast<int64_t>(index) * batch.chunks;

  float max = -INFINITY;
  bool invalid = false;
  HeadSums sums = {};
  Choice choice;
  for (int c = lane; c < batch.chunks; c += 32) {
    const HeadSums& part = parts[c];
    invalid |= isnan(part.max);
    max = fmaxf(max, part.max);
    sums.second = ::max(::min(sums.best, part.best), ::max(sums.second, part.second));
    sums.best = ::max(sums.best, part.best);
    if (part.choice >= 0) choice.Offer(part.score, part.choice, part.choice_logit);
  }
  invalid = __any_sync(kAllLanes, invalid);
  max = WarpReduce(max, MaxOf());
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
  for (int c = lane; c < batch.chunks; c += 32) {
    const HeadSums& part = parts[c];
    if (invalid || part.max == -INFINITY) continue;
    const double shift = double{part.max} - max, factor = exp(shift);
    sums.z += factor * part.z;
    sums.s += factor * (part.s + shift * part.z);
  }
  sums.z = WarpReduce(sums.z, SumOf());
  sums.s = WarpReduce(sums.s, SumOf());
  sums.max = invalid ? NAN : max;
  sums.score = choice.score;
  sums.choice = choice.id;
  sums.choice_logit = choice.logit;
  if (lane == 0) batch.sums[index] = sums;
}

__global__ void __launch_bounds__(kReduceThreads) MergeTops(HeadBatch batch) {
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
  ReduceChunk<<<grid, kReduceThreads, 0, stream>>>(
      batch, logits, stride, static_cast<int32_t>(begin), static_cast<int32_t>(count));
  return LaunchStatus("reducing logits");
}

Status MergeChunks(Stream stream, const HeadBatch& batch) {
  const auto blocks = static_cast<unsigned>((batch.count + kMergeRows - 1) / kMergeRows);
  MergeSums<<<blocks, kMergeRows * 32, 0, stream>>>(batch);
  TESSERA_RETURN_IF_ERROR(LaunchStatus("merging chunks of logits"));
  if (batch.lists == 0) return OkStatus();
  MergeTops<<<static_cast<unsigned>(batch.count), kReduceThreads, 0, stream>>>(batch);
  return LaunchStatus("merging lists of the best ids");
}

}  // namespace tessera::cuda
