// A network that evaluates the rows of one forward. Implementations: Decoder (real weights) and
// MockModel (tests). One forward at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/kv/kv_cache.h"
#include "tessera/ops/device.h"
#include "tessera/ops/model_traits.h"

namespace tessera::models {

// The merged plans of all sequences of a step.
struct ForwardInput {
  std::span<const ops::TokenId> tokens;         // [rows]
  std::span<const int32_t> positions;           // [rows] rotary positions
  std::span<const int32_t> slots;               // [rows] where K and V go
  std::span<const ops::AttentionGroup> groups;  // cover the rows in order
  std::span<const int32_t> out_rows;            // rows whose logits are wanted, ascending
  // The hidden states of all rows stay at their slots, for passes of the joint layer.
  bool keep_hidden = false;
  // A pass of the joint layer (ModelTraits::joint_layer): it corrects the hidden states that stayed
  // at the rows' slots for the tokens given here.
  bool joint = false;
};

class Model {
 public:
  virtual ~Model() = default;

  virtual const ops::ModelTraits& traits() const = 0;
  // Bytes of weights that one forward reads at most, the head included.
  virtual int64_t weight_bytes() const = 0;
  // Bytes that the last forward read; less than weight_bytes() where no row chose some expert.
  virtual int64_t weight_bytes_read() const { return weight_bytes(); }
  virtual Result<std::unique_ptr<kv::KvCache>> MakeKvCache(int32_t num_pages) = 0;

  // Evaluates the rows and reduces the logits of out_rows; RowRequest::row indexes out_rows.
  virtual Status Forward(const ForwardInput& input, const kv::KvCache& kv,
                         std::span<const ops::RowRequest> requests,
                         std::span<ops::RowStats> stats) = 0;
  // Evaluates the rows and returns raw logits [out_rows, vocab]; for goldens and likelihoods.
  virtual Status ForwardLogits(const ForwardInput& input, const kv::KvCache& kv,
                               std::vector<float>* logits) = 0;
};

}  // namespace tessera::models
