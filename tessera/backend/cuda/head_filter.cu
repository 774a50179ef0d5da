// The tempered and filtered distribution of rows whose logits were kept: top-k, top-p, min-p.
//
// The ids that survive are a prefix of the ranking by (logit descending, id ascending). Where it is
// short, which a histogram of the logits tells, its ids are sorted in shared memory. Otherwise a
// block halves the range of values until it has the one where the prefix ends, with a pass over the
// row (which stays in L2) each time. Sums have one order, so rows are reproducible.
#include "tessera/backend/cuda/head_block.cuh"
#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {
namespace {

constexpr int kFilterThreads = 1024;
constexpr int kBins = 2 * kFilterThreads;  // of the histogram
constexpr int kListed = 4096;              // ids that are sorted at most

// Ids with a value of at least some bound.
struct Share {
  int32_t count;
  double mass;
};

// The best `kept` ids: those above `value` and the first ones that have it.
struct Cut {
  int32_t kept;
  uint32_t value;  // ordered
};

struct KeptRow {
  const float4* logits;
  int32_t quads;
  float max, inverse;  // inverse of the temperature

  __device__ float Weight(float logit) const { return expf((logit - max) * inverse); }

  template <typename Visit>  // visit(four logits, id of the first)
  __device__ void ForQuads(const Visit& visit) const {
    for (int32_t q = static_cast<int32_t>(threadIdx.x); q < quads; q += kFilterThreads) {
      const float4 four = logits[q];
      const float values[4] = {four.x, four.y, four.z, four.w};
      visit(values, 4 * q);
    }
  }

  __device__ Share AtLeast(uint32_t bound) const {
    int32_t count = 0;
    double mass = 0;
    ForQuads([&](const float(&values)[4], int32_t) {
      float sum = 0;
#pragma unroll
      for (float value : values) {
        if (OrderedBits(value) < bound) continue;
        ++count;
        sum += Weight(value);
      }
      mass += sum;
    });
    return {BlockReduce(count, 0, SumOf()), BlockReduce(mass, 0.0, SumOf())};
  }

  // The largest value in [low, max] for which `reached(AtLeast(value))`, else low.
  template <typename Reached>
  __device__ uint32_t Largest(uint32_t low, const Reached& reached) const {
    uint32_t high = OrderedBits(max);
    while (low < high) {
      const uint32_t middle = low + (high - low + 1) / 2;
      if (reached(AtLeast(middle))) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  __device__ Cut CutAtCount(int32_t kept, uint32_t low) const {
    return {kept, Largest(low, [&](const Share& share) { return share.count >= kept; })};
  }

  // Hugging Face's TopPLogitsWarper: an id goes when better ids alone reach the limit.
  __device__ Cut CutAtMass(float top_p, const Cut& cut) const {
    const Share better = AtLeast(cut.value + 1);
    const double all =
        better.mass + (cut.kept - better.count) * double{Weight(OrderedValue(cut.value))};
    const double limit = double{top_p} * all;
    const uint32_t value =
        Largest(cut.value, [&](const Share& share) { return share.mass >= limit; });
    const Share before = AtLeast(value + 1);
    const int32_t equal = (value == cut.value ? cut.kept : AtLeast(value).count) - before.count;
    const double wanted = ceil((limit - before.mass) / double{Weight(OrderedValue(value))});
    // Written so that 0 / 0 takes all of them.
    const int32_t taken = wanted < equal ? ::max(static_cast<int32_t>(wanted), 1) : equal;
    return {::max(before.count + taken, 1), value};
  }

  // The id of the ranked id `count` of those with `value`, in ascending order.
  __device__ int32_t IdAmongEqual(uint32_t value, int32_t count) const {
    int32_t low = 0, high = 4 * quads - 1;
    while (low < high) {
      const int32_t middle = (low + high) / 2;
      int32_t seen = 0;
      ForQuads([&](const float(&values)[4], int32_t id) {
        for (int j = 0; j < 4; ++j) seen += OrderedBits(values[j]) == value && id + j <= middle;
      });
      if (BlockReduce(seen, 0, SumOf()) >= count) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }
};

// What passes over a row find.
struct RowTotals {
  int32_t size;   // ids that take part
  int32_t above;  // of them, those that min-p leaves; size without min-p
  double mass;    // of all, where top-p wants it
};

// The best ids of a row, sorted; in shared memory.
struct ShortList {
  RankKey keys[kListed];
  uint32_t bins[kBins];
  int32_t count;
};

__device__ void SortDescending(RankKey* keys, int count) {  // a power of two; bitonic
  for (int run = 2; run <= count; run *= 2) {
    for (int stride = run / 2; stride > 0; stride /= 2) {
      for (int i = static_cast<int>(threadIdx.x); i < count / 2; i += kFilterThreads) {
        const int low = 2 * i - (i & (stride - 1)), high = low + stride;
        const RankKey a = keys[low], b = keys[high];
        if ((a < b) == ((low & run) == 0)) {
          keys[low] = b;
          keys[high] = a;
        }
      }
      __syncthreads();
    }
  }
}

// Lists at least the ids that pass the filters. False: they may be too many.
__device__ bool ListSurvivors(const KeptRow& row, const HeadRequest& request, ShortList& list,
                              RowTotals* totals) {
  const auto tid = static_cast<int>(threadIdx.x);
  // Bins of equal width from the best logit to the least of a sample, so that the last takes all
  // that is below.
  float least = INFINITY;
  const float4 sample = row.logits[int64_t{tid} * row.quads / kFilterThreads];
  for (const float value : {sample.x, sample.y, sample.z, sample.w}) {
    if (value > -INFINITY) least = fminf(least, value);
  }
  least = BlockReduce(least, INFINITY, MinOf());
  const float scale = least < row.max ? kBins / (row.max - least) : 0;
  const auto bin_of = [&](float value) {
    return ::min(static_cast<int>((row.max - value) * scale), kBins - 1);
  };

  list.bins[tid] = list.bins[tid + kFilterThreads] = 0;
  __syncthreads();
  const bool has_top_p = request.top_p<1, has_min_p = request.min_p_floor> - INFINITY;
  RowTotals mine = {};
  row.ForQuads([&](const float(&values)[4], int32_t) {
    float sum = 0;
#pragma unroll
    for (const float value : values) {
      if (!(value > -INFINITY)) continue;
      atomicAdd(&list.bins[bin_of(value)], 1u);
      ++mine.size;
      mine.above += !has_min_p || double{value} - row.max >= request.min_p_floor;
      if (has_top_p) sum += row.Weight(value);
    }
    mine.mass += sum;
  });
  totals->size = BlockReduce(mine.size, 0, SumOf());
  totals->above = ::max(BlockReduce(mine.above, 0, SumOf()), 1);
  totals->mass = BlockReduce(mine.mass, 0.0, SumOf());

  // The first bin by whose end the count, or a bound of the mass, is what the filters leave at
  // most.
  int32_t most = totals->above;
  if (request.top_k > 0) most = ::min(most, request.top_k);
  // Top-p after top-k wants the mass of all that top-k leaves.
  const bool after_cut = !request.top_p_first && request.top_k > 0 && request.top_k < totals->size;
  const double limit =
      has_top_p && !after_cut ? 1.0001 * double{request.top_p} * totals->mass : INFINITY;
  const int32_t counts[2] = {static_cast<int32_t>(list.bins[2 * tid]),
                             static_cast<int32_t>(list.bins[2 * tid + 1])};
  double masses[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int bin = 2 * tid + i;
    const float least_weight =
        bin == kBins - 1 ? 0.f : 0.999f * expf(-static_cast<float>(bin + 1) / scale * row.inverse);
    masses[i] = counts[i] == 0 ? 0 : double{least_weight} * counts[i];
  }
  const int32_t count = BlockScan(counts[0] + counts[1]);
  const double mass = BlockScan(masses[0] + masses[1]);
  int end = kBins - 1;
  if (count >= most || mass >= limit) end = 2 * tid + 1;
  if (count - counts[1] >= most || mass - masses[1] >= limit) end = 2 * tid;
  const int last = BlockReduce(end, kBins, MinOf());
  const int32_t listed =
      BlockReduce(last / 2 == tid ? count - (last % 2 == 0 ? counts[1] : 0) : 0, 0, SumOf());
  if (listed > kListed) return false;

  if (tid == 0) list.count = 0;
  __syncthreads();
  row.ForQuads([&](const float(&values)[4], int32_t id) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (!(values[j] > -INFINITY) || bin_of(values[j]) > last) continue;
      list.keys[atomicAdd(&list.count, 1)] = KeyOf(values[j], id + j);
    }
  });
  int padded = 1;
  while (padded < listed) padded *= 2;
  for (int i = listed + tid; i < padded; i += kFilterThreads) list.keys[i] = 0;
  __syncthreads();
  SortDescending(list.keys, padded);
  return true;
}

// The distribution of a row whose survivors are listed.
__device__ FilteredSums FilterList(const HeadBatch& batch, const HeadRequest& request,
                                   const KeptRow& row, const ShortList& list,
                                   const RowTotals& totals) {
  constexpr int kEntries = kListed / kFilterThreads;  // of a thread, side by side
  const int first = static_cast<int>(threadIdx.x) * kEntries;
  float logits[kEntries];
  double weights[kEntries], own = 0;
#pragma unroll
  for (int i = 0; i < kEntries; ++i) {
    const RankKey key = first + i < list.count ? list.keys[first + i] : 0;
    logits[i] = OrderedValue(static_cast<uint32_t>(key >> 32));
    weights[i] = key != 0 ? row.Weight(logits[i]) : 0;
    own += weights[i];
  }
  int32_t kept = totals.size;
  double all = totals.mass;
  const bool cuts = request.top_k > 0 && request.top_k < kept;
  if (cuts) kept = request.top_k;
  if (cuts && !request.top_p_first) {
    double mine = 0;
#pragma unroll
    for (int i = 0; i < kEntries; ++i) mine += first + i < kept ? weights[i] : 0;
    all = BlockReduce(mine, 0.0, SumOf());
  }
  if (request.top_p < 1) {
    // Hugging Face's TopPLogitsWarper: an id goes when better ids alone reach the limit.
    const double limit = double{request.top_p} * all;
    double better = BlockScan(own) - own;
    int32_t stay = 0;
#pragma unroll
    for (int i = 0; i < kEntries; ++i) {
      stay += first + i < list.count && better < limit;
      better += weights[i];
    }
    kept = ::min(kept, ::max(BlockReduce(stay, 0, SumOf()), 1));
  }
  kept = ::min(kept, totals.above);

  FilteredSums sums = {};
  Choice choice;
#pragma unroll
  for (int i = 0; i < kEntries; ++i) {
    if (first + i >= kept) break;
    const int32_t id = IdOfKey(list.keys[first + i]);
    sums.z += weights[i];
    sums.s += (double{logits[i]} - row.max) * weights[i];
    if (request.temperature > 0 && !IsBanned(batch, request, id)) {
      const uint32_t word =
          WordOf(TokenWords(request, static_cast<uint32_t>(id) / 4), static_cast<int>(id % 4));
      choice.Offer(GumbelRace(request.temperature, row.max).Score(logits[i], word), id, logits[i]);
    }
  }
  sums.z = BlockReduce(sums.z, 0.0, SumOf());
  sums.s = BlockReduce(sums.s, 0.0, SumOf());
  choice = BestChoice(choice);
  sums.last_logit = OrderedValue(static_cast<uint32_t>(list.keys[kept - 1] >> 32));
  sums.last_id = IdOfKey(list.keys[kept - 1]);
  sums.choice = choice.id;
  sums.choice_logit = choice.logit;
  return sums;
}

__device__ Cut Filter(const KeptRow& row, const HeadRequest& request, const RowTotals& totals) {
  Cut cut = {totals.size, OrderedBits(-INFINITY) + 1};
  const auto top_k = [&] {
    if (request.top_k > 0 && request.top_k < cut.kept) {
      cut = row.CutAtCount(request.top_k, cut.value);
    }
  };
  if (!request.top_p_first) top_k();
  if (request.top_p < 1) cut = row.CutAtMass(request.top_p, cut);
  if (request.top_p_first) top_k();
  if (totals.above < cut.kept) cut = row.CutAtCount(totals.above, cut.value);
  return cut;
}

// Two passes, see GumbelRace. `keeps(logit, id)`: the id survived.
template <typename Keeps>
__device__ Choice Choose(const HeadBatch& batch, const HeadRequest& request, const KeptRow& row,
                         const Keeps& keeps) {
  const GumbelRace race(request.temperature, row.max);
  const auto for_kept = [&](const auto& visit) {
    row.ForQuads([&](const float(&values)[4], int32_t id) {
      bool any = false;
      for (int j = 0; j < 4; ++j) any |= keeps(values[j], id + j);
      if (!any) return;
      const uint4 words = TokenWords(request, static_cast<uint32_t>(id) / 4);
      for (int j = 0; j < 4; ++j) {
        if (keeps(values[j], id + j)) visit(values[j], id + j, WordOf(words, j));
      }
    });
  };
  float least = INFINITY, least_value = -INFINITY;
  uint32_t least_word = 0;
  for_kept([&](float value, int32_t id, uint32_t word) {
    const float bound = race.Bound(value, word);
    if (!(bound < least) || IsBanned(batch, request, id)) return;
    least = bound;
    least_value = value;
    least_word = word;
  });
  const bool leads = BlockReduce(least, INFINITY, MinOf()) == least;
  const float limit =
      BlockReduce(leads ? race.Limit(least_value, least_word) : INFINITY, INFINITY, MinOf());
  Choice choice;
  for_kept([&](float value, int32_t id, uint32_t word) {
    if (GumbelRace::Excludes(limit, race.Bound(value, word))) return;
    if (!IsBanned(batch, request, id)) choice.Offer(race.Score(value, word), id, value);
  });
  return BestChoice(choice);
}

__global__ void __launch_bounds__(kFilterThreads)
    FilterRow(const __grid_constant__ HeadBatch batch) {
  AllowSuccessor();
  WaitForPredecessor();
  const HeadRequest& request = batch.requests[blockIdx.x];
  if (request.kept < 0) return;
  const float max = batch.sums[blockIdx.x].max;
  if (!(max > -INFINITY)) return;  // an invalid row, whose numbers nobody reads
  const double temperature = request.temperature > 0 ? request.temperature : 1;
  const int32_t width = batch.chunks * kHeadChunk;
  const KeptRow row = {.logits = reinterpret_cast<const float4*>(
                           batch.kept + static_cast<int64_t>(request.kept) * width),
                       .quads = width / 4,
                       .max = max,
                       // The limit keeps 0 * infinity out of the weights of the best ids.
                       .inverse = static_cast<float>(::min(1 / temperature, 1e30))};

  __shared__ ShortList list;
  FilteredSums sums = {};
  sums.last_logit = -3.402823466e38f;
  sums.last_id = 0x7fffffff;
  if (request.top_k > 0 || request.top_p < 1 || request.min_p_floor > -INFINITY) {
    RowTotals totals;
    if (ListSurvivors(row, request, list, &totals)) {
      sums = FilterList(batch, request, row, list, totals);
      if (threadIdx.x == 0) batch.filtered[request.kept] = sums;
      return;
    }
    const Cut cut = Filter(row, request, totals);
    if (cut.kept < totals.size) {
      const int32_t above = row.AtLeast(cut.value + 1).count;
      const int32_t equal = row.AtLeast(cut.value).count - above;
      sums.last_logit = OrderedValue(cut.value);
      if (cut.kept - above < equal) sums.last_id = row.IdAmongEqual(cut.value, cut.kept - above);
    }
  }
  const auto keeps = [&](float logit, int32_t id) {
    return logit > sums.last_logit || (logit == sums.last_logit && id <= sums.last_id);
  };
  row.ForQuads([&](const float(&values)[4], int32_t id) {
    for (int j = 0; j < 4; ++j) {
      if (!keeps(values[j], id + j)) continue;
      const double weight = row.Weight(values[j]);
      sums.z += weight;
      sums.s += (double{values[j]} - max) * weight;
    }
  });
  sums.z = BlockReduce(sums.z, 0.0, SumOf());
  sums.s = BlockReduce(sums.s, 0.0, SumOf());
  sums.choice = -1;
  if (request.temperature > 0) {
    const Choice choice = Choose(batch, request, row, keeps);
    sums.choice = choice.id;
    sums.choice_logit = choice.logit;
  }
  if (threadIdx.x == 0) batch.filtered[request.kept] = sums;
}

}  // namespace

Status FilterRows(Stream stream, const HeadBatch& batch) {
  if (batch.kept_rows == 0) return OkStatus();
  return LaunchOverlapped("filtering logits", FilterRow, static_cast<unsigned>(batch.count),
                          kFilterThreads, 0, stream, batch);
}

}  // namespace tessera::cuda
