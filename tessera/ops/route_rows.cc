#include "tessera/ops/route_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace tessera::ops {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The best entries offered so far, best first; an equal later one does not displace.
class Best {
 public:
  void Reset(int32_t capacity) {
    capacity_ = static_cast<size_t>(capacity);
    entries_.clear();
  }
  void Offer(float value, int32_t id) {
    if (entries_.size() == capacity_) {
      if (!(value > entries_.back().value)) return;
      entries_.pop_back();
    }
    auto at = entries_.end();
    while (at != entries_.begin() && value > std::prev(at)->value) --at;
    entries_.insert(at, {value, id});
  }
  float Sum() const {
    float sum = 0;
    for (const Entry& entry : entries_) sum += entry.value;
    return sum;
  }
  void Ids(std::vector<int32_t>* ids) const {
    ids->clear();
    for (const Entry& entry : entries_) ids->push_back(entry.id);
    std::sort(ids->begin(), ids->end());
  }

 private:
  struct Entry {
    float value;
    int32_t id;
  };
  size_t capacity_ = 0;
  std::vector<Entry> entries_;
};

class Router {
 public:
  explicit Router(const RouteArgs& args)
      : args_(args),
        spec_(args.spec),
        per_group_(args.experts / args.spec.groups),
        score_(static_cast<size_t>(args.experts)),
        key_(static_cast<size_t>(args.experts)) {}

  void Row(int64_t row) {
    Score(args_.logits + row * args_.experts);
    ChooseGroups();
    best_.Reset(spec_.top_k);
    for (const int32_t group : groups_) {
      for (int32_t e = group * per_group_; e < (group + 1) * per_group_; ++e) {
        best_.Offer(key_[static_cast<size_t>(e)], e);
      }
    }
    best_.Ids(&chosen_);
    float sum = 1e-20f;
    for (const int32_t e : chosen_) sum += score_[static_cast<size_t>(e)];
    const float factor = spec_.normalise ? spec_.scale / sum : spec_.scale;
    for (size_t i = 0; i < chosen_.size(); ++i) {
      const size_t at = static_cast<size_t>(row) * chosen_.size() + i;
      args_.chosen[at] = chosen_[i];
      args_.weights[at] = score_[static_cast<size_t>(chosen_[i])] * factor;
    }
  }

 private:
  // Fills score_, and key_: what experts are compared by.
  void Score(const float* logits) {
    const size_t experts = score_.size();
    if (spec_.score == RouterScore::kSigmoid) {
      for (size_t e = 0; e < experts; ++e) score_[e] = 1 / (1 + std::exp(-logits[e]));
    } else {
      const float top = *std::max_element(logits, logits + experts);
      double sum = 0;
      for (size_t e = 0; e < experts; ++e) sum += score_[e] = std::exp(logits[e] - top);
      const float factor = static_cast<float>(1 / sum);
      for (size_t e = 0; e < experts; ++e) score_[e] *= factor;
    }
    for (size_t e = 0; e < experts; ++e) {
      const float key = score_[e] + (args_.bias == nullptr ? 0 : args_.bias[e]);
      key_[e] = std::isnan(key) ? kLowest : key;
    }
  }

  void ChooseGroups() {
    best_groups_.Reset(spec_.top_groups);
    for (int32_t g = 0; g < spec_.groups; ++g) {
      best_groups_.Offer(spec_.top_groups < spec_.groups ? GroupKey(g) : 0, g);
    }
    best_groups_.Ids(&groups_);
  }

  float GroupKey(int32_t group) {
    best_.Reset(2);
    for (int32_t e = group * per_group_; e < (group + 1) * per_group_; ++e) {
      best_.Offer(key_[static_cast<size_t>(e)], e);
    }
    return best_.Sum();
  }

  const RouteArgs& args_;
  const RouterSpec& spec_;
  const int32_t per_group_;
  std::vector<float> score_, key_;  // [experts]
  std::vector<int32_t> groups_, chosen_;
  Best best_, best_groups_;
};

}  // namespace

void RouteRows(const RouteArgs& args, int64_t begin, int64_t end) {
  Router router(args);
  for (int64_t row = begin; row < end; ++row) router.Row(row);
}

}  // namespace tessera::ops
