// A model whose logits are a function given by a test: strategies and the engine can be tested
// against distributions that are known in closed form.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "tessera/models/model.h"

namespace tessera::models {

class MockModel : public Model {
 public:
  // Fills `logits` [vocab] of the network output at `row` of the forward.
  using LogitsFunction =
      std::function<void(const ForwardInput& input, int32_t row, std::span<float> logits)>;

  MockModel(const ops::ModelTraits& traits, LogitsFunction logits);
  ~MockModel() override;

  const ops::ModelTraits& traits() const override { return traits_; }
  int64_t weight_bytes() const override { return 0; }
  ops::Device& device() { return *device_; }
  int64_t forwards() const { return forwards_; }

  Result<std::unique_ptr<kv::KvCache>> MakeKvCache(int32_t num_pages) override;
  Status Forward(const ForwardInput& input, const kv::KvCache& kv,
                 std::span<const ops::RowRequest> requests,
                 std::span<ops::RowStats> stats) override;
  Status ForwardLogits(const ForwardInput& input, const kv::KvCache& kv,
                       std::vector<float>* logits) override;

 private:
  std::vector<float> OutLogits(const ForwardInput& input) const;

  ops::ModelTraits traits_;
  LogitsFunction logits_;
  std::unique_ptr<ops::Device> device_;    // the scalar reference
  std::unique_ptr<ops::Matrix> identity_;  // a head that turns "hidden states" into logits
  int64_t forwards_ = 0;
};

}  // namespace tessera::models
