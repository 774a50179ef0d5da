#include "tessera/backend/cuda/head_reducer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace tessera::cuda {
namespace {

using ops::TokenId;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

constexpr int64_t kTileRows = 256;
// Requests of one pass over the head; they bound the partial sums.
constexpr size_t kBatchRequests = 1024;
// Logits kept for filters in one pass: 256 MB.
constexpr int64_t kKeptLogits = int64_t{64} << 20;

// As cpu::HeadReducer: whether the numbers of a row need its tempered, filtered distribution.
bool NeedsWholeRow(const ops::SamplingSpec& spec) {
  const bool tempered = spec.temperature > 0 && spec.temperature != 1;
  if (spec.stats_of_filtered) return spec.filters() || tempered;
  return spec.filters() && spec.temperature > 0;
}

float LogitOfKey(RankKey key) {
  return std::bit_cast<float>(BitsOfOrdered(static_cast<uint32_t>(key >> 32)));
}

// Edits from `begin` on: ascending, each id once, with all of its flags.
void Normalise(std::vector<uint32_t>* edits, size_t begin) {
  std::sort(edits->begin() + static_cast<std::ptrdiff_t>(begin), edits->end());
  size_t kept = begin;
  for (size_t i = begin; i < edits->size(); ++i) {
    const uint32_t edit = (*edits)[i];
    if (kept > begin && (*edits)[kept - 1] / 8 == edit / 8) {
      (*edits)[kept - 1] |= edit;
    } else {
      (*edits)[kept++] = edit;
    }
  }
  edits->resize(kept);
}

void Append(std::span<const TokenId> ids, HeadEditFlag flag, std::vector<uint32_t>* edits) {
  for (const TokenId id : ids) edits->push_back(static_cast<uint32_t>(id) * 8 + flag);
}

size_t Aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

template <typename T>
void CopyInto(void* block, size_t at, const std::vector<T>& values) {
  if (values.empty()) return;
  std::memcpy(static_cast<std::byte*>(block) + at, values.data(), values.size() * sizeof(T));
}
template <typename T>
T* At(void* block, size_t at) {
  return reinterpret_cast<T*>(static_cast<std::byte*>(block) + at);
}

}  // namespace

// Requests with equal edits share them: those of a spec, and neighbours with one history.
HeadReducer::EditRange HeadReducer::EditsOf(const ops::RowRequest& request) {
  const ops::SamplingSpec& spec = *request.sampling;
  const auto from = [&](size_t begin) {
    Normalise(&edits_, begin);
    return EditRange{static_cast<int32_t>(begin), static_cast<int32_t>(edits_.size() - begin)};
  };
  const auto [found, is_new] = specs_.try_emplace(&spec);
  if (is_new) {
    const size_t begin = edits_.size();
    Append(spec.suppressed, kSuppress, &edits_);
    Append(spec.banned, kBan, &edits_);
    found->second.edits = from(begin);
  }
  SpecEdits& entry = found->second;
  if (spec.repetition_penalty == 1 || request.history.empty()) return entry.edits;
  if (entry.history.data() != request.history.data() ||
      entry.history.size() != request.history.size()) {
    const size_t begin = edits_.size();
    edits_.resize(begin + static_cast<size_t>(entry.edits.count));
    std::copy_n(edits_.begin() + entry.edits.begin, entry.edits.count,
                edits_.begin() + static_cast<std::ptrdiff_t>(begin));
    Append(request.history, kPenalise, &edits_);
    entry.history = request.history;
    entry.with_history = from(begin);
  }
  return entry.with_history;
}

// Which requests are reduced together, and what the GPU is told of each.
void HeadReducer::Plan(std::span<const ops::RowRequest> requests) {
  // Guidance needs two rows at once: where they lie in different tiles, one tile holds all.
  tile_rows_ = std::min(padded_rows_, kTileRows);
  for (const ops::RowRequest& request : requests) {
    if (request.guidance_row >= 0 && request.row / kTileRows != request.guidance_row / kTileRows) {
      tile_rows_ = padded_rows_;
    }
  }
  const auto tile_of = [&](size_t i) { return requests[i].row / tile_rows_; };
  order_.resize(requests.size());
  std::iota(order_.begin(), order_.end(), size_t{0});
  const auto earlier = [&](size_t a, size_t b) { return tile_of(a) < tile_of(b); };
  if (!std::is_sorted(order_.begin(), order_.end(), earlier)) {
    std::stable_sort(order_.begin(), order_.end(), earlier);
  }

  specs_.clear();
  placed_.clear();
  edits_.clear();
  probes_.clear();
  batches_.clear();
  lists_ = kept_ = 0;
  const auto most_kept =
      static_cast<size_t>(std::max<int64_t>(1, kKeptLogits / (chunks() * kHeadChunk)));
  for (const size_t i : order_) {
    const ops::RowRequest& request = requests[i];
    const ops::SamplingSpec& spec = *request.sampling;
    const bool keeps = NeedsWholeRow(spec), lists = spec.top_n > 2;
    if (batches_.empty() || batches_.back().tile != tile_of(i) ||
        batches_.back().count == kBatchRequests || (keeps && batches_.back().kept == most_kept)) {
      batches_.push_back({.tile = tile_of(i),
                          .begin = placed_.size(),
                          .count = 0,
                          .list_begin = lists_,
                          .lists = 0,
                          .kept_begin = kept_,
                          .kept = 0});
    }
    Batch& batch = batches_.back();
    const EditRange edits = EditsOf(request);
    const double temperature = spec.temperature > 0 ? spec.temperature : 0;
    const auto row_begin = static_cast<int32_t>(batch.tile * tile_rows_);
    placed_.push_back(
        {.row = request.row - row_begin,
         .guidance_row = request.guidance_row < 0 ? -1 : request.guidance_row - row_begin,
         .guidance_factor = request.guidance_scale + 1,
         .penalty = spec.repetition_penalty,
         .temperature = temperature,
         .seed = request.key.seed,
         .position = static_cast<uint32_t>(request.key.position),
         .step = static_cast<uint32_t>(request.key.step),
         .edit_begin = edits.begin,
         .edit_count = edits.count,
         .probe_begin = static_cast<int32_t>(probes_.size()),
         .probe_count = static_cast<int32_t>(request.probe.size()),
         .top_list = lists ? static_cast<int32_t>(batch.lists) : -1,
         .top_n = std::min(spec.top_n, kHeadTop),
         .kept = keeps ? static_cast<int32_t>(batch.kept) : -1,
         .top_k = std::max(spec.top_k, 0),
         .top_p = spec.top_p,
         .top_p_first = spec.filter_order == ops::FilterOrder::kTopPTopK,
         .min_p_floor = spec.min_p > 0
                            ? std::log(double{spec.min_p}) * (temperature > 0 ? temperature : 1)
                            : -std::numeric_limits<double>::infinity()});
    probes_.insert(probes_.end(), request.probe.begin(), request.probe.end());
    ++batch.count;
    batch.lists += lists;
    lists_ += lists;
    batch.kept += keeps;
    kept_ += keeps;
  }

  layout_.requests = 0;
  layout_.edits = Aligned(placed_.size() * sizeof(HeadRequest));
  layout_.probes = layout_.edits + Aligned(edits_.size() * sizeof(uint32_t));
  layout_.tables_end = layout_.probes + Aligned(probes_.size() * sizeof(int32_t));
  layout_.sums = 0;
  layout_.tops = Aligned(placed_.size() * sizeof(HeadSums));
  layout_.filtered = layout_.tops + Aligned(lists_ * kHeadTop * sizeof(RankKey));
  layout_.probe_logits = layout_.filtered + Aligned(kept_ * sizeof(FilteredSums));
  layout_.results_end = layout_.probe_logits + Aligned(probes_.size() * sizeof(float));
}

Status HeadReducer::Reserve(Stream stream) {
  size_t requests = 0, lists = 0, kept = 0;
  for (const Batch& batch : batches_) {
    requests = std::max(requests, batch.count);
    lists = std::max(lists, batch.lists);
    kept = std::max(kept, batch.kept);
  }
  const auto num_chunks = static_cast<size_t>(chunks());
  const char* const what = "statistics of logits";
  TESSERA_RETURN_IF_ERROR(host_tables_.Grow(layout_.tables_end, what));
  TESSERA_RETURN_IF_ERROR(host_results_.Grow(layout_.results_end, what));
  TESSERA_RETURN_IF_ERROR(tables_.Grow(layout_.tables_end, what));
  TESSERA_RETURN_IF_ERROR(results_.Grow(layout_.results_end, what));
  TESSERA_RETURN_IF_ERROR(
      partials_.Grow(requests * num_chunks * kChunkParts * sizeof(HeadSums), what));
  TESSERA_RETURN_IF_ERROR(
      partial_tops_.Grow(lists * num_chunks * kHeadTop * sizeof(RankKey), what));
  TESSERA_RETURN_IF_ERROR(
      kept_logits_.Grow(kept * num_chunks * kHeadChunk * sizeof(float), "logits to filter"));
  TESSERA_RETURN_IF_ERROR(
      logits_.Grow(static_cast<size_t>(tile_rows_ * kHeadSlice) * sizeof(float), "logits"));
  if (head_.format.type == ops::WeightType::kF32) return OkStatus();
  const void* const before = linear_scratch_.data();
  TESSERA_RETURN_IF_ERROR(linear_scratch_.Grow(
      static_cast<size_t>(LinearScratchBytes(gpu_, tile_rows_, kHeadSlice)), "products"));
  if (linear_scratch_.data() == before) return OkStatus();
  return Zero(stream, linear_scratch_.data(), linear_scratch_.bytes());
}

Status HeadReducer::Prepare(Stream stream, const WeightView& head, int64_t rows,
                            std::span<const ops::RowRequest> requests) {
  head_ = head;
  rows_ = rows;
  padded_rows_ = PaddedRows(rows);
  requests_ = requests;
  Plan(requests);
  if (requests.empty()) return OkStatus();
  TESSERA_RETURN_IF_ERROR(Reserve(stream));
  CopyInto(host_tables_.data(), layout_.requests, placed_);
  CopyInto(host_tables_.data(), layout_.edits, edits_);
  CopyInto(host_tables_.data(), layout_.probes, probes_);
  return CopyToGpu(stream, tables_.data(), host_tables_.data(), layout_.tables_end);
}

// The logits of a tile's rows for the ids [begin, begin + count).
Status HeadReducer::Multiply(Stream stream, const HeadRows& x, int64_t tile, int64_t begin,
                             int64_t count, int64_t stride) {
  const int64_t first = tile * tile_rows_;
  if (head_.format.type == ops::WeightType::kF32) {
    return LinearF32(stream,
                     {.rows = std::min(tile_rows_, rows_ - first),
                      .x = x.hidden + first * head_.in,
                      .weight = nullptr,
                      .bias = nullptr,
                      .y = logits_.as<float>()},
                     static_cast<const float*>(head_.data) + begin * head_.in, count, head_.in);
  }
  // Whole tiles of packed activations, whose surplus rows nobody reads.
  const LinearStep step = {.weight = head_,
                           .x = x.packed + ActivationElements(first, head_.in),
                           .output = LinearStep::Output::kRows,
                           .feature_begin = begin,
                           .feature_end = begin + count,
                           .y = logits_.as<float>(),
                           .stride = stride};
  return Linears(stream, gpu_, std::min(tile_rows_, padded_rows_ - first), {&step, 1},
                 linear_scratch_.data());
}

HeadBatch HeadReducer::BatchOnGpu(const Batch& batch) const {
  void* const tables = tables_.data();
  void* const results = results_.data();
  return {.requests = At<HeadRequest>(tables, layout_.requests) + batch.begin,
          .edits = At<uint32_t>(tables, layout_.edits),
          .probes = At<int32_t>(tables, layout_.probes),
          .count = static_cast<int32_t>(batch.count),
          .lists = static_cast<int32_t>(batch.lists),
          .kept_rows = static_cast<int32_t>(batch.kept),
          .chunks = static_cast<int32_t>(chunks()),
          .partials = partials_.as<HeadSums>(),
          .partial_tops = partial_tops_.as<RankKey>(),
          .kept = kept_logits_.as<float>(),
          .sums = At<HeadSums>(results, layout_.sums) + batch.begin,
          .tops = At<RankKey>(results, layout_.tops) + batch.list_begin * kHeadTop,
          .filtered = At<FilteredSums>(results, layout_.filtered) + batch.kept_begin,
          .probe_logits = At<float>(results, layout_.probe_logits)};
}

Status HeadReducer::Enqueue(Stream stream, const HeadRows& x) {
  if (batches_.empty()) return OkStatus();
  for (const Batch& entry : batches_) {
    const HeadBatch batch = BatchOnGpu(entry);
    for (int64_t begin = 0; begin < head_.out; begin += kHeadSlice) {
      const int64_t count = std::min(kHeadSlice, head_.out - begin);
      const int64_t stride = head_.format.type == ops::WeightType::kF32 ? count : kHeadSlice;
      TESSERA_RETURN_IF_ERROR(Multiply(stream, x, entry.tile, begin, count, stride));
      TESSERA_RETURN_IF_ERROR(
          ReduceSlice(stream, batch, logits_.as<float>(), stride, begin, count));
    }
    TESSERA_RETURN_IF_ERROR(MergeChunks(stream, batch));
    TESSERA_RETURN_IF_ERROR(FilterRows(stream, batch));
  }
  return CopyToHost(stream, host_results_.data(), results_.data(), layout_.results_end);
}

ops::RowStats HeadReducer::Finish(const HeadRequest& placed, const ops::RowRequest& request,
                                  const HeadSums& sums, const FilteredSums* filtered,
                                  const RankKey* top, const float* probe_logits) const {
  const ops::SamplingSpec& spec = *request.sampling;
  ops::RowStats stats;
  if (std::isnan(sums.max) || sums.max == -kInfinity) {
    const auto edits = std::span(edits_).subspan(static_cast<size_t>(placed.edit_begin),
                                                 static_cast<size_t>(placed.edit_count));
    auto edit = edits.begin();
    for (TokenId id = 0; id < head_.out && stats.second < 0; ++id) {
      while (edit != edits.end() && static_cast<TokenId>(*edit / 8) < id) ++edit;
      const bool banned =
          edit != edits.end() && static_cast<TokenId>(*edit / 8) == id && (*edit & kBan) != 0;
      if (!banned) (stats.argmax < 0 ? stats.argmax : stats.second) = id;
    }
    stats.sampled = stats.argmax;
    stats.p1 = stats.p2 = stats.entropy = stats.lse = stats.p_sampled = kNaN;
    stats.p_probe.assign(request.probe.size(), kNaN);
    return stats;
  }

  const double max = sums.max, log_z = std::log(sums.z);
  stats.lse = static_cast<float>(max + log_z);
  const float logit1 = sums.best != 0 ? LogitOfKey(sums.best) : -kInfinity;
  const float logit2 = sums.second != 0 ? LogitOfKey(sums.second) : -kInfinity;
  if (sums.best != 0) stats.argmax = IdOfKey(sums.best);
  if (sums.second != 0) stats.second = IdOfKey(sums.second);
  const RankKey best_two[] = {sums.best, sums.second};
  if (top == nullptr) top = best_two;
  for (int32_t i = 0; i < placed.top_n && top[i] != 0; ++i) {
    stats.top.emplace_back(IdOfKey(top[i]), static_cast<float>(LogitOfKey(top[i]) - max - log_z));
  }
  const auto plain = [&](float logit) { return std::exp(logit - max) / sums.z; };
  for (size_t i = 0; i < request.probe.size(); ++i) {
    stats.p_probe.push_back(static_cast<float>(plain(probe_logits[i])));
  }

  TokenId choice = filtered != nullptr ? filtered->choice : sums.choice;
  float choice_logit = filtered != nullptr ? filtered->choice_logit : sums.choice_logit;
  if (choice < 0) choice = stats.argmax, choice_logit = logit1;
  stats.sampled = choice;

  const bool of_filtered = filtered != nullptr && spec.stats_of_filtered;
  const double temperature = spec.temperature > 0 ? spec.temperature : 1;
  const auto described = [&](float logit, TokenId id) {
    if (id < 0) return 0.0f;
    if (!of_filtered) return static_cast<float>(plain(logit));
    const bool kept =
        logit > filtered->last_logit || (logit == filtered->last_logit && id <= filtered->last_id);
    return kept ? static_cast<float>(std::exp((logit - max) / temperature) / filtered->z) : 0.0f;
  };
  stats.p1 = described(logit1, stats.argmax);
  stats.p2 = described(logit2, stats.second);
  stats.p_sampled = described(choice_logit, stats.sampled);
  // H = log Z - S / Z, with S in units of the temperature.
  const double entropy = of_filtered
                             ? std::log(filtered->z) - filtered->s / (temperature * filtered->z)
                             : log_z - sums.s / sums.z;
  stats.entropy = static_cast<float>(std::max(0.0, entropy));
  return stats;
}

Status HeadReducer::Collect(std::span<ops::RowStats> stats) const {
  void* const results = host_results_.data();
  for (const Batch& batch : batches_) {
    for (size_t i = batch.begin; i < batch.begin + batch.count; ++i) {
      const HeadRequest& placed = placed_[i];
      const FilteredSums* filtered = nullptr;
      const RankKey* top = nullptr;
      if (placed.kept >= 0) {
        filtered = At<FilteredSums>(results, layout_.filtered) + batch.kept_begin + placed.kept;
      }
      if (placed.top_list >= 0) {
        top = At<RankKey>(results, layout_.tops) +
              (batch.list_begin + static_cast<size_t>(placed.top_list)) * kHeadTop;
      }
      stats[order_[i]] =
          Finish(placed, requests_[order_[i]], At<HeadSums>(results, layout_.sums)[i], filtered,
                 top, At<float>(results, layout_.probe_logits) + placed.probe_begin);
    }
  }
  return OkStatus();
}

Status HeadReducer::Run(Stream stream, const WeightView& head, const ops::HeadStatsArgs& args) {
  if (args.requests.empty()) return OkStatus();
  const auto enqueue = [&]() -> Status {
    TESSERA_RETURN_IF_ERROR(Prepare(stream, head, args.rows, args.requests));
    HeadRows x = {.packed = nullptr, .hidden = args.hidden};
    if (head.format.type != ops::WeightType::kF32) {
      const int64_t elements = ActivationElements(padded_rows_, head.in);
      TESSERA_RETURN_IF_ERROR(
          packed_.Grow(static_cast<size_t>(elements) * sizeof(BF16), "activations"));
      TESSERA_RETURN_IF_ERROR(
          PackRows(stream, args.rows, head.in, args.hidden, packed_.as<BF16>()));
      x.packed = packed_.as<BF16>();
    }
    return Enqueue(stream, x);
  };
  const Status enqueued = enqueue();
  // Also after an error: the next call overwrites what copies under way still read.
  const Status done = Synchronize(stream);
  TESSERA_RETURN_IF_ERROR(enqueued);
  TESSERA_RETURN_IF_ERROR(done);
  return Collect(args.stats);
}

}  // namespace tessera::cuda
