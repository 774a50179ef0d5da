// The feed-forward of a layer as a mixture of experts.
//
// The rows of a forward are grouped by expert, whatever sequences they belong to, so that an
// expert's weights are read once for all of its rows, and not at all when no row chose it. Experts
// add to a row in the order of their ids: a row's sum depends on its own choice, never on how rows
// group.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/ops/device.h"

namespace tessera::models {

// down * (silu(gate * x) . (up * x)); gate and up are stacked.
struct FeedForward {
  std::unique_ptr<ops::Matrix> gate_up, down;

  int64_t width() const { return down->in(); }
  int64_t bytes() const { return gate_up->bytes() + down->bytes(); }
};

struct Mixture {
  ops::RouterSpec spec;
  std::unique_ptr<ops::Matrix> router;             // [experts, width]
  std::unique_ptr<ops::DeviceBuffer> router_bias;  // [experts] f32, or null
  std::vector<FeedForward> experts;                // all of one width
};

// The (row, expert) pairs of one forward, ordered by expert, then by row.
struct ExpertGroups {
  std::vector<int32_t> begin;  // [experts + 1]; expert e has pairs [begin[e], begin[e + 1])
  std::vector<int32_t> rows;   // [pairs]
  std::vector<float> weights;  // [pairs]
};

// `chosen` and `weights` are [rows, top_k], as Device::Route gives them.
ExpertGroups GroupByExpert(std::span<const int32_t> chosen, std::span<const float> weights,
                           int32_t top_k, int32_t experts);

// Evaluates mixtures, one at a time, and keeps the memory that this takes.
class MixtureRunner {
 public:
  explicit MixtureRunner(ops::Device& device) : device_(device) {}

  // hidden += mixture(x), both [rows, width].
  Status Run(const Mixture& mixture, int64_t rows, const float* x, float* hidden);

  // Bytes of expert weights read since the last call.
  int64_t TakeBytesRead() { return std::exchange(bytes_read_, 0); }

 private:
  using Vector = std::unique_ptr<ops::DeviceBuffer>;  // f32

  Status Route(const Mixture& mixture, int64_t rows, const float* x);
  Status Reserve(Vector& buffer, int64_t rows, int64_t width);
  // Pairs [begin, end), which belong to experts from `expert` on.
  Status RunPairs(const Mixture& mixture, size_t expert, int32_t begin, int32_t end, const float* x,
                  float* hidden);

  ops::Device& device_;
  Vector logits_, rows_, gate_up_, inner_;
  std::vector<int32_t> chosen_;
  std::vector<float> weights_;
  ExpertGroups groups_;
  int64_t bytes_read_ = 0;
};

}  // namespace tessera::models
