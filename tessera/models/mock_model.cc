#include "tessera/models/mock_model.h"

#include "tessera/ops/ref/ref_device.h"

namespace tessera::models {

MockModel::MockModel(const ops::ModelTraits& traits, LogitsFunction logits)
    : traits_(traits), logits_(std::move(logits)), device_(ops::ref::MakeRefDevice()) {
  const size_t vocab = static_cast<size_t>(traits_.vocab_size);
  std::vector<float> eye(vocab * vocab, 0);
  for (size_t i = 0; i < vocab; ++i) eye[i * vocab + i] = 1;
  const TensorView view{.data = reinterpret_cast<const std::byte*>(eye.data()),
                        .dtype = DType::kF32,
                        .shape = {traits_.vocab_size, traits_.vocab_size}};
  Result<std::unique_ptr<ops::Matrix>> packed =
      device_->Pack({.parts = {view}, .format = {.type = ops::WeightType::kF32}});
  TESSERA_CHECK(packed.ok());
  identity_ = std::move(*packed);
}

MockModel::~MockModel() = default;

Result<std::unique_ptr<kv::KvCache>> MockModel::MakeKvCache(int32_t num_pages) {
  return kv::KvCache::Create(*device_, {.type = ops::KvType::kF32, .kv_heads = 1, .head_dim = 2}, 1,
                             num_pages);
}

std::vector<float> MockModel::OutLogits(const ForwardInput& input) const {
  const size_t vocab = static_cast<size_t>(traits_.vocab_size);
  std::vector<float> logits(input.out_rows.size() * vocab, 0);
  for (size_t i = 0; i < input.out_rows.size(); ++i) {
    logits_(input, input.out_rows[i], std::span(logits).subspan(i * vocab, vocab));
  }
  return logits;
}

Status MockModel::Forward(const ForwardInput& input, const kv::KvCache&,
                          std::span<const ops::RowRequest> requests,
                          std::span<ops::RowStats> stats) {
  ++forwards_;
  const std::vector<float> logits = OutLogits(input);
  return device_->HeadStats({.rows = static_cast<int64_t>(input.out_rows.size()),
                             .hidden = logits.data(),
                             .head = identity_.get(),
                             .requests = requests,
                             .stats = stats});
}

Status MockModel::ForwardLogits(const ForwardInput& input, const kv::KvCache&,
                                std::vector<float>* logits) {
  ++forwards_;
  *logits = OutLogits(input);
  return OkStatus();
}

}  // namespace tessera::models
