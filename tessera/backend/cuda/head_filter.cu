// The tempered and filtered distribution of rows whose logits were kept: top-k, top-p, min-p.
//
// The ids that survive are a prefix of the ranking by (logit descending, id ascending). Nothing is
// sorted: a block halves the range of values until it has the one where the prefix ends, with a
// pass over the row (which stays in L2) each time. Sums have one order, so rows are reproducible.
#include "tessera/backend/cuda/head_block.cuh"
#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {
namespace {

constexpr int kFilterThreads = 1024;

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

__device__ Cut Filter(const KeptRow& row, const HeadRequest& request, uint32_t lowest,
                      int32_t size) {
  Cut cut = {size, lowest};
  const auto top_k = [&] {
    if (request.top_k > 0 && request.top_k < cut.kept) {
      cut = row.CutAtCount(request.top_k, cut.value);
    }
  };
  if (!request.top_p_first) top_k();
  if (request.top_p < 1) cut = row.CutAtMass(request.top_p, cut);
  if (request.top_p_first) top_k();
  if (request.min_p_floor > -INFINITY) {
    int32_t above = 0;
    row.ForQuads([&](const float(&values)[4], int32_t) {
      for (const float value : values) above += double{value} - row.max >= request.min_p_floor;
    });
    above = ::max(BlockReduce(above, 0, SumOf()), 1);
    if (above < cut.kept) cut = row.CutAtCount(above, cut.value);
  }
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

  FilteredSums sums = {};
  sums.last_logit = -3.402823466e38f;
  sums.last_id = 0x7fffffff;
  if (request.top_k > 0 || request.top_p < 1 || request.min_p_floor > -INFINITY) {
    const uint32_t lowest = OrderedBits(-INFINITY) + 1;
    const int32_t size = row.AtLeast(lowest).count;
    const Cut cut = Filter(row, request, lowest, size);
    if (cut.kept < size) {
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
