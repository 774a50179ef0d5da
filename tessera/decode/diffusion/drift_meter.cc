#include "tessera/decode/diffusion/drift_meter.h"

#include <algorithm>
#include <cmath>

namespace tessera::decode {
namespace {

// Least |a(token) - b(token)|, where a's probability of the token is exactly `p`.
float LeastDifference(TokenId token, float p, const RowStats& b) {
  if (token == b.argmax) return std::abs(p - b.p1);
  if (token == b.second) return std::abs(p - b.p2);
  return std::max(0.0f, p - b.p2);
}

}  // namespace

float TopTwoDistance(const RowStats& a, const RowStats& b) {
  return std::max({LeastDifference(a.argmax, a.p1, b), LeastDifference(a.second, a.p2, b),
                   LeastDifference(b.argmax, b.p1, a), LeastDifference(b.second, b.p2, a)});
}

// Rows that the following steps are likely to reuse: outside the window, or decided inside it.
std::vector<DriftMeter::Probe> DriftMeter::Choose(const SequenceView& view,
                                                  const Layout& layout) const {
  std::vector<int32_t> pool;
  for (const int32_t position : layout.computed.positions()) {
    const bool inside = position >= layout.begin && position < layout.end;
    if (!inside || view.is_committed(position)) pool.push_back(position);
  }
  std::vector<Probe> probes;
  const int64_t count = std::min<int64_t>(probes_, static_cast<int64_t>(pool.size()));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = (2 * i + 1) * static_cast<int64_t>(pool.size()) / (2 * count);
    probes.push_back({.position = pool[static_cast<size_t>(index)]});
  }
  return probes;
}

void DriftMeter::AddTo(const SequenceView& view, const Layout& layout, StepPlan* plan) {
  planned_.clear();
  in_place_.clear();
  if (probes_ == 0) return;
  // A full forward reads a last time how far the old probes have moved, and begins new ones.
  if (layout.keys.Minus(layout.computed).empty()) {
    leaving_ = chosen_.size();
    const std::vector<Probe> fresh = Choose(view, layout);
    chosen_.insert(chosen_.end(), fresh.begin(), fresh.end());
  }

  int32_t slot = layout.scratch;
  for (size_t i = 0; i < chosen_.size(); ++i) {
    Probe& probe = chosen_[i];
    if (!layout.keys.Contains(probe.position)) continue;  // hidden, or past the end
    int32_t row = plan->rows();
    if (layout.computed.Contains(probe.position)) {
      const auto at =
          std::lower_bound(plan->positions.begin(),
                           plan->positions.begin() + layout.computed.size(), probe.position);
      row = static_cast<int32_t>(at - plan->positions.begin());
      in_place_.push_back(true);
    } else {
      if (!probe.known) continue;
      RowSet keys = layout.keys.Minus(RowSet(probe.position, probe.position + 1));
      keys.Add(slot);
      plan->tokens.push_back(view.tokens[static_cast<size_t>(probe.position)]);
      plan->positions.push_back(probe.position);
      plan->slots.push_back(slot++);
      plan->groups.push_back({.row_begin = row,
                              .row_end = row + 1,
                              .rule = ops::MaskRule::kFull,
                              .block = 0,
                              .keys = keys.ranges(),
                              .bits = {}});
      ++plan->probes;
      in_place_.push_back(false);
    }
    planned_.push_back(i);
    plan->out.push_back({.row = row, .position = probe.position, .guidance_row = -1, .history = 0});
  }
}

float DriftMeter::Read(std::span<const RowStats> stats) {
  float sum = 0;
  int32_t count = 0;
  bool stale = false;  // rows are reused now; a full forward has just mended what it measures
  for (size_t i = 0; i < planned_.size(); ++i) {
    Probe& probe = chosen_[planned_[i]];
    if (!in_place_[i]) probe.reused = stale = true;
    if (probe.known && probe.reused) {
      sum += TopTwoDistance(probe.baseline, stats[i]);
      ++count;
    }
    if (in_place_[i]) {
      probe.baseline = stats[i];
      probe.known = true;
      probe.reused = false;
    }
  }
  chosen_.erase(chosen_.begin(), chosen_.begin() + static_cast<std::ptrdiff_t>(leaving_));
  leaving_ = 0;
  const float drift = count == 0 ? -1 : sum / static_cast<float>(count);
  refresh_wanted_ = stale && refresh_at_ > 0 && drift >= refresh_at_;
  return drift;
}

}  // namespace tessera::decode
