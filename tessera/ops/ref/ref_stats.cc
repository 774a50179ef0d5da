// RowStats by sorting whole rows in double precision.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "tessera/ops/ref/ref_ops.h"

namespace tessera::ops::ref {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The logits of `request`, in the order guidance, suppression, repetition penalty.
std::vector<float> Edit(std::span<const float> logits, std::span<const float> guidance,
                        const RowRequest& request) {
  const SamplingSpec& sampling = *request.sampling;
  std::vector<float> edited(logits.begin(), logits.end());
  if (!guidance.empty()) {
    for (size_t v = 0; v < edited.size(); ++v) {
      // LLaDA classifier-free guidance (methods/diffusion.md 1.3): u + (w + 1)(c - u).
      edited[v] = guidance[v] + (request.guidance_scale + 1) * (logits[v] - guidance[v]);
    }
  }
  for (const TokenId id : sampling.suppressed) edited[id] = -std::numeric_limits<float>::infinity();
  if (sampling.repetition_penalty != 1) {
    for (const TokenId id : std::set<TokenId>(request.history.begin(), request.history.end())) {
      edited[id] = edited[id] > 0 ? edited[id] / sampling.repetition_penalty
                                  : edited[id] * sampling.repetition_penalty;
    }
  }
  return edited;
}

// softmax(values[v] for v in ids) as a vocabulary-wide vector that is 0 elsewhere.
std::vector<double> Softmax(const std::vector<double>& values, std::span<const TokenId> ids) {
  double top = -kInfinity, sum = 0;
  for (const TokenId id : ids) top = std::max(top, values[id]);
  std::vector<double> p(values.size(), 0.0);
  for (const TokenId id : ids) sum += p[id] = std::exp(values[id] - top);
  for (double& value : p) value /= sum;
  return p;
}

double Entropy(const std::vector<double>& p) {
  double entropy = 0;
  for (const double value : p) {
    if (value > 0) entropy -= value * std::log(value);
  }
  return entropy;
}

// How many leading ids of `ranked` survive the filters; at least one.
size_t CountKept(const std::vector<double>& tempered, const std::vector<TokenId>& ranked,
                 const SamplingSpec& sampling) {
  size_t kept = ranked.size();
  const auto top_k = [&] {
    if (sampling.top_k > 0) kept = std::min<size_t>(kept, sampling.top_k);
  };
  const auto top_p = [&] {
    if (sampling.top_p >= 1) return;
    const std::vector<double> p = Softmax(tempered, std::span(ranked).first(kept));
    double before = 0;  // mass of better ids; an id goes when that alone reaches the limit
    for (size_t i = 0; i < kept; ++i) {
      if (i > 0 && before >= double{sampling.top_p}) kept = i;
      before += p[ranked[i]];
    }
  };
  if (sampling.filter_order == FilterOrder::kTopKTopP) {
    top_k();
    top_p();
  } else {
    top_p();
    top_k();
  }
  if (sampling.min_p > 0) {
    const double floor = tempered[ranked[0]] + std::log(double{sampling.min_p});
    while (kept > 1 && tempered[ranked[kept - 1]] < floor) --kept;
  }
  return kept;
}

RowStats InvalidRow(size_t vocab, const std::set<TokenId>& banned, size_t probes) {
  RowStats stats;
  for (TokenId id = 0; id < static_cast<TokenId>(vocab) && stats.second < 0; ++id) {
    if (!banned.contains(id)) (stats.argmax < 0 ? stats.argmax : stats.second) = id;
  }
  stats.sampled = stats.argmax;
  stats.p1 = stats.p2 = stats.entropy = stats.lse = stats.p_sampled = kNaN;
  stats.p_probe.assign(probes, kNaN);
  return stats;
}

}  // namespace

RowStats Reduce(std::span<const float> logits, std::span<const float> guidance,
                const RowRequest& request) {
  const SamplingSpec& sampling = *request.sampling;
  const std::vector<float> edited = Edit(logits, guidance, request);
  const std::set<TokenId> banned(sampling.banned.begin(), sampling.banned.end());
  const float top = *std::max_element(edited.begin(), edited.end());
  if (!std::isfinite(top) ||
      std::any_of(edited.begin(), edited.end(), [](float l) { return std::isnan(l); })) {
    return InvalidRow(edited.size(), banned, request.probe.size());
  }

  // Every id with a finite logit, best first.
  std::vector<TokenId> ranked(edited.size());
  std::iota(ranked.begin(), ranked.end(), 0);
  std::erase_if(ranked, [&](TokenId id) { return edited[id] == -kInfinity; });
  std::stable_sort(ranked.begin(), ranked.end(),
                   [&](TokenId a, TokenId b) { return edited[a] > edited[b]; });

  const std::vector<double> plain(edited.begin(), edited.end());
  const std::vector<double> p = Softmax(plain, ranked);
  const double temperature = sampling.temperature > 0 ? sampling.temperature : 1;
  std::vector<double> tempered = plain;
  for (double& value : tempered) value /= temperature;
  const auto kept = std::span(ranked).first(CountKept(tempered, ranked, sampling));
  const std::vector<double> described = sampling.stats_of_filtered ? Softmax(tempered, kept) : p;

  RowStats stats;
  double sum = 0;
  for (const TokenId id : ranked) sum += std::exp(plain[id] - top);
  stats.lse = static_cast<float>(top + std::log(sum));
  stats.entropy = static_cast<float>(Entropy(described));
  for (const TokenId id : request.probe) stats.p_probe.push_back(static_cast<float>(p[id]));
  for (const TokenId id : ranked) {
    if (banned.contains(id)) continue;
    if (stats.argmax < 0) {
      stats.argmax = id;
    } else if (stats.second < 0) {
      stats.second = id;
    }
    if (stats.top.size() < static_cast<size_t>(sampling.top_n)) {
      stats.top.emplace_back(id, static_cast<float>(plain[id] - top - std::log(sum)));
    }
  }
  if (stats.argmax >= 0) stats.p1 = static_cast<float>(described[stats.argmax]);
  if (stats.second >= 0) stats.p2 = static_cast<float>(described[stats.second]);

  stats.sampled = stats.argmax;
  if (sampling.temperature > 0) {
    double best = -kInfinity;
    for (const TokenId id : kept) {
      if (banned.contains(id)) continue;
      const uint32_t word = RandomWords(request.key, RngPurpose::kToken, id / 4)[id % 4];
      const double score = tempered[id] + GumbelFromWord(word);
      if (score > best || (score == best && id < stats.sampled)) {
        best = score;
        stats.sampled = id;
      }
    }
  }
  if (stats.sampled >= 0) stats.p_sampled = static_cast<float>(described[stats.sampled]);
  return stats;
}

void HeadStats(const HeadStatsArgs& args) {
  const int64_t vocab = args.head->out(), in = args.head->in();
  const auto row_logits = [&](int32_t row) {
    std::vector<float> logits(vocab);
    HeadLogits(
        {.rows = 1, .hidden = args.hidden + row * in, .head = args.head, .logits = logits.data()});
    return logits;
  };
  for (size_t i = 0; i < args.requests.size(); ++i) {
    const RowRequest& request = args.requests[i];
    std::vector<float> guidance;
    if (request.guidance_row >= 0) guidance = row_logits(request.guidance_row);
    args.stats[i] = Reduce(row_logits(request.row), guidance, request);
  }
}

}  // namespace tessera::ops::ref
