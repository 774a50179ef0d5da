#include "tessera/models/mixture.h"

#include <algorithm>

namespace tessera::models {
namespace {

// Pairs evaluated at once: those of a block of 256 rows with 8 experts each. Their activations are
// 30 MB in LLaDA2-mini's sizes; a longer prefill takes several rounds. Rounds end between experts,
// unless one expert alone has more pairs: its linears are compute-bound long before.
constexpr int32_t kPairs = 2048;

float* Floats(const std::unique_ptr<ops::DeviceBuffer>& buffer) {
  return buffer ? static_cast<float*>(buffer->data) : nullptr;
}

}  // namespace

ExpertGroups GroupByExpert(std::span<const int32_t> chosen, std::span<const float> weights,
                           int32_t top_k, int32_t experts) {
  ExpertGroups groups;
  groups.begin.assign(static_cast<size_t>(experts) + 1, 0);
  for (const int32_t expert : chosen) ++groups.begin[static_cast<size_t>(expert) + 1];
  for (size_t e = 0; e < static_cast<size_t>(experts); ++e) groups.begin[e + 1] += groups.begin[e];
  groups.rows.resize(chosen.size());
  groups.weights.resize(chosen.size());
  std::vector<int32_t> next(groups.begin.begin(), groups.begin.end() - 1);
  for (size_t i = 0; i < chosen.size(); ++i) {
    const auto at = static_cast<size_t>(next[static_cast<size_t>(chosen[i])]++);
    groups.rows[at] = static_cast<int32_t>(i / static_cast<size_t>(top_k));
    groups.weights[at] = weights[i];
  }
  return groups;
}

Status MixtureRunner::Reserve(Vector& buffer, int64_t rows, int64_t width) {
  const size_t bytes = static_cast<size_t>(rows * width) * sizeof(float);
  if (buffer != nullptr && buffer->bytes >= bytes) return OkStatus();
  buffer.reset();
  TESSERA_ASSIGN_OR_RETURN(buffer, device_.Allocate(bytes));
  return OkStatus();
}

Status MixtureRunner::Route(const Mixture& mixture, int64_t rows, const float* x) {
  const auto experts = static_cast<int32_t>(mixture.experts.size());
  const auto pairs = static_cast<size_t>(rows * mixture.spec.top_k);
  TESSERA_RETURN_IF_ERROR(Reserve(logits_, rows, experts));
  TESSERA_RETURN_IF_ERROR(device_.Linear({.rows = rows,
                                          .x = x,
                                          .weight = mixture.router.get(),
                                          .bias = nullptr,
                                          .y = Floats(logits_)}));
  chosen_.resize(pairs);
  weights_.resize(pairs);
  TESSERA_RETURN_IF_ERROR(device_.Route({.rows = rows,
                                         .experts = experts,
                                         .spec = mixture.spec,
                                         .logits = Floats(logits_),
                                         .bias = Floats(mixture.router_bias),
                                         .chosen = chosen_,
                                         .weights = weights_}));
  groups_ = GroupByExpert(chosen_, weights_, mixture.spec.top_k, experts);
  return OkStatus();
}

Status MixtureRunner::Run(const Mixture& mixture, int64_t rows, const float* x, float* hidden) {
  if (rows == 0) return OkStatus();
  TESSERA_RETURN_IF_ERROR(Route(mixture, rows, x));
  const int64_t width = mixture.router->in(), inner = mixture.experts.front().width();
  const int64_t most = std::min<int64_t>(kPairs, static_cast<int64_t>(groups_.rows.size()));
  TESSERA_RETURN_IF_ERROR(Reserve(rows_, most, width));
  TESSERA_RETURN_IF_ERROR(Reserve(gate_up_, most, 2 * inner));
  TESSERA_RETURN_IF_ERROR(Reserve(inner_, most, inner));

  for (size_t e = 0; e < mixture.experts.size();) {
    size_t last = e + 1;  // experts [e, last) share a round
    while (last < mixture.experts.size() && groups_.begin[last + 1] - groups_.begin[e] <= kPairs) {
      ++last;
    }
    const int32_t end = groups_.begin[last];
    for (int32_t begin = groups_.begin[e]; begin < end; begin += kPairs) {
      TESSERA_RETURN_IF_ERROR(
          RunPairs(mixture, e, begin, std::min(begin + kPairs, end), x, hidden));
    }
    for (; e < last; ++e) {
      if (groups_.begin[e] < groups_.begin[e + 1]) bytes_read_ += mixture.experts[e].bytes();
    }
  }
  return OkStatus();
}

Status MixtureRunner::RunPairs(const Mixture& mixture, size_t expert, int32_t begin, int32_t end,
                               const float* x, float* hidden) {
  const int64_t width = mixture.router->in(), inner = mixture.experts.front().width();
  const auto pairs = static_cast<size_t>(end - begin);
  const std::span<const int32_t> rows =
      std::span(groups_.rows).subspan(static_cast<size_t>(begin), pairs);

  // y = one matrix of each expert times the expert's pairs.
  const auto linear = [&](auto matrix_of, const float* in, int64_t in_width, float* out,
                          int64_t out_width) -> Status {
    for (size_t e = expert; e < mixture.experts.size() && groups_.begin[e] < end; ++e) {
      const int32_t first = std::max(groups_.begin[e], begin);
      const int32_t behind = std::min(groups_.begin[e + 1], end);
      if (first >= behind) continue;
      TESSERA_RETURN_IF_ERROR(device_.Linear({.rows = behind - first,
                                              .x = in + (first - begin) * in_width,
                                              .weight = matrix_of(mixture.experts[e]),
                                              .bias = nullptr,
                                              .y = out + (first - begin) * out_width}));
    }
    return OkStatus();
  };

  TESSERA_RETURN_IF_ERROR(
      device_.GatherRows({.rows = rows, .width = width, .x = x, .out = Floats(rows_)}));
  TESSERA_RETURN_IF_ERROR(linear([](const FeedForward& f) { return f.gate_up.get(); },
                                 Floats(rows_), width, Floats(gate_up_), 2 * inner));
  TESSERA_RETURN_IF_ERROR(device_.SiluMul(
      {.rows = end - begin, .width = inner, .gate_up = Floats(gate_up_), .out = Floats(inner_)}));
  // The gathered inputs are not needed any more: the outputs take their place.
  TESSERA_RETURN_IF_ERROR(linear([](const FeedForward& f) { return f.down.get(); }, Floats(inner_),
                                 inner, Floats(rows_), width));
  return device_.AddRows(
      {.rows = rows,
       .weights = std::span(groups_.weights).subspan(static_cast<size_t>(begin), pairs),
       .width = width,
       .x = Floats(rows_),
       .out = hidden});
}

}  // namespace tessera::models
