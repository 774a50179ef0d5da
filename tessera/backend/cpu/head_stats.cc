#include "tessera/backend/cpu/head_stats.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tessera::cpu {
namespace {

using ops::TokenId;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Ids per chunk. Small enough that the logits of 256 rows stay in a 1 MB L2, a multiple of the
// 64 ids one Philox group covers.
constexpr int64_t kChunk = 512;
static_assert(kChunk % kPanel == 0 && kChunk % 64 == 0);

// Requests per pass over the head; each may use two rows (guidance). Bounds scratch memory.
constexpr size_t kBatch = 128;

std::vector<TokenId> SortedUnique(std::span<const TokenId> ids) {
  std::vector<TokenId> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  return sorted;
}

// Calls visit(i) for every id in [first, first + count) of an ascending list; i = id - first.
template <typename Visit>
void ForIdsIn(const std::vector<TokenId>& ids, int64_t first, int64_t count, const Visit& visit) {
  for (auto it = std::lower_bound(ids.begin(), ids.end(), first);
       it != ids.end() && *it < first + count; ++it) {
    visit(*it - first);
  }
}

// Whether the numbers of a row need its tempered, filtered distribution.
bool NeedsWholeRow(const ops::SamplingSpec& spec) {
  const bool tempered = spec.temperature > 0 && spec.temperature != 1;
  if (spec.stats_of_filtered) return spec.filters() || tempered;
  return spec.filters() && spec.temperature > 0;
}

bool Better(const GumbelChoice& a, const GumbelChoice& b) {
  if (a.id < 0 || b.id < 0) return b.id < 0 && a.id >= 0;
  return a.score > b.score || (a.score == b.score && a.id < b.id);
}

NoiseKey NoiseOf(const RngKey& key) {
  return {.seed = key.seed,
          .position = static_cast<uint32_t>(key.position),
          .step = static_cast<uint32_t>(key.step)};
}

constexpr GumbelChoice kNoChoice = {-std::numeric_limits<double>::infinity(), 0, -1};

}  // namespace

void OfferChoice(float logit, int32_t id, double temperature, uint32_t word, GumbelChoice* choice) {
  if (!(logit > -kInfinity)) return;
  const GumbelChoice offer = {logit / temperature + GumbelFromWord(word), logit, id};
  if (Better(offer, *choice)) *choice = offer;
}

void HeadReducer::ReduceChunk(Job& job, int64_t chunk, int64_t vocab, const float* logits,
                              int64_t stride, const OpKernels& kernels, Partial& partial,
                              float* scratch) {
  const ops::SamplingSpec& spec = *job.request->sampling;
  const int64_t first = chunk * kChunk;
  const int64_t count = std::min(kChunk, vocab - first);
  const float* own = logits + job.row * stride;
  if (job.guidance_row >= 0) {
    kernels.guide(own, logits + job.guidance_row * stride, job.request->guidance_scale + 1, count,
                  scratch);
  } else {
    std::copy_n(own, count, scratch);
  }
  std::fill(scratch + count, scratch + kChunk, -kInfinity);
  ForIdsIn(job.sorted->suppressed, first, count, [&](int64_t i) { scratch[i] = -kInfinity; });
  if (spec.repetition_penalty != 1) {
    ForIdsIn(job.history, first, count, [&](int64_t i) {
      scratch[i] = scratch[i] > 0 ? scratch[i] / spec.repetition_penalty
                                  : scratch[i] * spec.repetition_penalty;
    });
  }
  for (auto it = std::lower_bound(job.probes.begin(), job.probes.end(),
                                  std::pair<TokenId, int32_t>(static_cast<TokenId>(first), -1));
       it != job.probes.end() && it->first < first + count; ++it) {
    job.probe_logits[it->second] = scratch[it->first - first];
  }
  if (job.kept_row) std::copy_n(scratch, count, job.kept_row + first);

  ChunkSums& sums = sums_[(&job - jobs_.data()) * ((vocab + kChunk - 1) / kChunk) + chunk];
  sums = kernels.chunk_sums(scratch, kChunk);
  ForIdsIn(job.sorted->banned, first, count, [&](int64_t i) { scratch[i] = -kInfinity; });
  const TopList& top = partial.top;
  if (top.size < top.capacity || !(sums.max < top.value[top.capacity - 1])) {
    kernels.update_top(scratch, kChunk, static_cast<int32_t>(first), &partial.top);
  }
  if (job.samples) {
    kernels.update_choice(scratch, kChunk, static_cast<int32_t>(first), spec.temperature,
                          NoiseOf(job.request->key), &partial.choice);
  }
}

GumbelChoice HeadReducer::ChooseKept(const Job& job, const FilteredRow& filtered, int64_t vocab,
                                     const OpKernels& kernels) const {
  GumbelChoice choice = kNoChoice;
  for (int64_t first = 0; first < vocab; first += kChunk) {
    const int64_t count = std::min(kChunk, vocab - first);
    float chunk[kChunk];
    bool any = false;
    for (int64_t i = 0; i < count; ++i) {
      const float logit = job.kept_row[first + i];
      const bool keeps = filtered.Keeps(logit, static_cast<TokenId>(first + i));
      any |= keeps;
      chunk[i] = keeps ? logit : -kInfinity;
    }
    if (!any) continue;
    std::fill(chunk + count, chunk + kChunk, -kInfinity);
    ForIdsIn(job.sorted->banned, first, count, [&](int64_t i) { chunk[i] = -kInfinity; });
    kernels.update_choice(chunk, kChunk, static_cast<int32_t>(first), filtered.temperature,
                          NoiseOf(job.request->key), &choice);
  }
  return choice;
}

// `partials` holds the job's entry of every worker; the first is used to merge into.
void HeadReducer::Finish(const Job& job, std::span<const ChunkSums> sums,
                         std::span<Partial* const> partials, int64_t vocab,
                         const OpKernels& kernels, RowFilter& filter) const {
  const ops::SamplingSpec& spec = *job.request->sampling;
  ops::RowStats& stats = *job.stats;
  stats = {};

  bool valid = true;
  float max = -kInfinity;
  for (const ChunkSums& chunk : sums) {
    valid = valid && !std::isnan(chunk.max);
    max = std::max(max, chunk.max);
  }
  if (!valid || max == -kInfinity) {
    const std::vector<TokenId>& banned = job.sorted->banned;
    for (TokenId id = 0; id < vocab && stats.second < 0; ++id) {
      if (std::binary_search(banned.begin(), banned.end(), id)) continue;
      (stats.argmax < 0 ? stats.argmax : stats.second) = id;
    }
    stats.sampled = stats.argmax;
    stats.p1 = stats.p2 = stats.entropy = stats.lse = stats.p_sampled = kNaN;
    stats.p_probe.assign(job.request->probe.size(), kNaN);
    return;
  }

  // Merging rebases every chunk to the common maximum:
  //   Z = sum z e^(m - M),  S = sum e^(m - M) (s + (m - M) z),  H = log Z - S / Z.
  double z = 0, s = 0;
  for (const ChunkSums& chunk : sums) {
    if (chunk.max == -kInfinity) continue;
    const double shift = double{chunk.max} - max, factor = std::exp(shift);
    z += factor * chunk.z;
    s += factor * (chunk.s + shift * chunk.z);
  }
  const double log_z = std::log(z);
  const auto plain = [&](float logit) { return std::exp(double{logit} - max) / z; };
  stats.lse = static_cast<float>(max + log_z);

  Partial& best = *partials[0];
  for (size_t worker = 1; worker < partials.size(); ++worker) {
    TopList merged = {.capacity = best.top.capacity, .size = 0, .value = {}, .id = {}};
    const TopList &a = best.top, &b = partials[worker]->top;
    for (int32_t i = 0, j = 0; merged.size < merged.capacity && (i < a.size || j < b.size);) {
      const bool from_a =
          j == b.size || (i < a.size && (a.value[i] > b.value[j] ||
                                         (a.value[i] == b.value[j] && a.id[i] < b.id[j])));
      merged.value[merged.size] = from_a ? a.value[i] : b.value[j];
      merged.id[merged.size++] = from_a ? a.id[i++] : b.id[j++];
    }
    best.top = merged;
    if (Better(partials[worker]->choice, best.choice)) best.choice = partials[worker]->choice;
  }
  const TopList& top = best.top;
  const float logit1 = top.size > 0 ? top.value[0] : -kInfinity;
  const float logit2 = top.size > 1 ? top.value[1] : -kInfinity;
  if (top.size > 0) stats.argmax = top.id[0];
  if (top.size > 1) stats.second = top.id[1];
  for (int32_t i = 0; i < std::min(spec.top_n, top.size); ++i) {
    stats.top.emplace_back(top.id[i], static_cast<float>(double{top.value[i]} - max - log_z));
  }
  for (const float logit : job.probe_logits) {
    stats.p_probe.push_back(static_cast<float>(plain(logit)));
  }

  FilteredRow filtered;
  GumbelChoice choice = best.choice;
  if (job.kept_row) {
    filtered = filter.Run(std::span(job.kept_row, vocab), max, spec, kernels);
    if (spec.temperature > 0) choice = ChooseKept(job, filtered, vocab, kernels);
  }
  if (choice.id < 0) choice = {0, logit1, stats.argmax};
  stats.sampled = choice.id;

  const auto described = [&](float logit, TokenId id) {
    if (id < 0) return 0.0f;
    return static_cast<float>(
        job.kept_row && spec.stats_of_filtered ? filtered.Probability(logit, id) : plain(logit));
  };
  stats.p1 = described(logit1, stats.argmax);
  stats.p2 = described(logit2, stats.second);
  stats.p_sampled = described(choice.logit, choice.id);
  stats.entropy = static_cast<float>(
      job.kept_row && spec.stats_of_filtered ? filtered.entropy : std::max(0.0, log_z - s / z));
}

void HeadReducer::RunBatch(const ops::HeadStatsArgs& args, std::span<Job> jobs,
                           const LinearKernels& linear, const OpKernels& kernels,
                           ThreadPool& pool) {
  const auto& head = static_cast<const PackedMatrix&>(*args.head);
  const int64_t vocab = head.out(), in = head.in();
  const int64_t num_chunks = (vocab + kChunk - 1) / kChunk;
  const size_t num_jobs = jobs.size();
  const int workers = pool.size();

  // Rows the batch needs, each once.
  std::vector<int64_t> index(static_cast<size_t>(args.rows), -1);
  hidden_.clear();
  int64_t rows = 0;
  const auto compact = [&](int32_t row) {
    if (index[row] < 0) {
      index[row] = rows++;
      hidden_.insert(hidden_.end(), args.hidden + row * in, args.hidden + (row + 1) * in);
    }
    return index[row];
  };
  size_t kept = 0;
  for (Job& job : jobs) {
    job.row = compact(job.request->row);
    job.guidance_row = job.request->guidance_row >= 0 ? compact(job.request->guidance_row) : -1;
    kept += NeedsWholeRow(*job.request->sampling);
  }
  if (kept_rows_.size() < kept * vocab) kept_rows_.resize(kept * vocab);
  kept = 0;
  for (Job& job : jobs) {
    if (NeedsWholeRow(*job.request->sampling)) job.kept_row = &kept_rows_[kept++ * vocab];
  }

  partials_.resize(workers * num_jobs);
  for (int worker = 0; worker < workers; ++worker) {
    for (size_t j = 0; j < num_jobs; ++j) {
      Partial& partial = partials_[worker * num_jobs + j];
      // Two for argmax and second, whatever top_n is.
      partial.top.capacity = std::clamp(jobs[j].request->sampling->top_n, 2, kMaxTop);
      partial.top.size = 0;
      partial.choice = kNoChoice;
    }
  }
  sums_.resize(num_jobs * num_chunks);
  const int64_t worker_floats = (rows + 1) * kChunk;
  const size_t bytes = static_cast<size_t>(workers * worker_floats) * sizeof(float);
  if (logits_.bytes() < bytes) logits_ = Buffer(bytes);

  const PackedRows packed = PackRows(hidden_.data(), rows, head, linear, pool, packed_);
  pool.ParallelFor(num_chunks, 1, [&](int64_t begin, int64_t end, int worker) {
    float* const logits = logits_.as<float>() + worker * worker_floats;
    float* const scratch = logits + rows * kChunk;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t panel = chunk * (kChunk / kPanel);
      LinearPanels(packed, head, panel, std::min(panel + kChunk / kPanel, head.num_panels()),
                   logits, kChunk);
      for (size_t j = 0; j < num_jobs; ++j) {
        ReduceChunk(jobs[j], chunk, vocab, logits, kChunk, kernels,
                    partials_[worker * num_jobs + j], scratch);
      }
    }
  });
  filters_.resize(workers);
  pool.ParallelFor(static_cast<int64_t>(num_jobs), 1, [&](int64_t begin, int64_t end, int self) {
    std::vector<Partial*> partials(workers);
    for (int64_t j = begin; j < end; ++j) {
      for (int worker = 0; worker < workers; ++worker) {
        partials[worker] = &partials_[worker * num_jobs + j];
      }
      Finish(jobs[j], std::span(sums_).subspan(j * num_chunks, num_chunks), partials, vocab,
             kernels, filters_[self]);
    }
  });
}

void HeadReducer::Run(const ops::HeadStatsArgs& args, const LinearKernels& linear,
                      const OpKernels& kernels, ThreadPool& pool) {
  specs_.clear();
  specs_.reserve(args.requests.size());  // jobs point into it
  for (size_t begin = 0; begin < args.requests.size(); begin += kBatch) {
    const size_t end = std::min(begin + kBatch, args.requests.size());
    jobs_.clear();
    for (size_t i = begin; i < end; ++i) {
      const ops::RowRequest& request = args.requests[i];
      const ops::SamplingSpec& spec = *request.sampling;
      auto sorted = std::find_if(specs_.begin(), specs_.end(),
                                 [&](const SortedSpec& entry) { return entry.spec == &spec; });
      if (sorted == specs_.end()) {
        specs_.push_back({&spec, SortedUnique(spec.banned), SortedUnique(spec.suppressed)});
        sorted = specs_.end() - 1;
      }
      Job job = {.request = &request,
                 .stats = &args.stats[i],
                 .sorted = &*sorted,
                 .history = {},
                 .probes = {},
                 .probe_logits = std::vector<float>(request.probe.size()),
                 .row = 0,
                 .guidance_row = -1,
                 .kept_row = nullptr,
                 .samples = spec.temperature > 0 && !NeedsWholeRow(spec)};
      if (spec.repetition_penalty != 1) job.history = SortedUnique(request.history);
      for (size_t p = 0; p < request.probe.size(); ++p) {
        job.probes.emplace_back(request.probe[p], static_cast<int32_t>(p));
      }
      std::sort(job.probes.begin(), job.probes.end());
      jobs_.push_back(std::move(job));
    }
    RunBatch(args, jobs_, linear, kernels, pool);
  }
}

}  // namespace tessera::cpu
