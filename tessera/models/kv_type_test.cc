// Of which type a model's keys and values are, and that devices may refuse one.
#include <gtest/gtest.h>

#include "tessera/models/decoder.h"
#include "tessera/models/synthetic_source.h"
#include "tessera/models/testing.h"

namespace tessera::models {
namespace {

using ops::KvType;

class KeysAndValues : public testing::Test {
 protected:
  static DecoderConfig Config() {
    DecoderConfig config;
    config.vocab = 16;
    config.width = 16;
    config.layers = 1;
    config.heads = config.kv_heads = 2;
    config.head_dim = config.rotary_dim = 8;
    config.ffn_width = 16;
    config.names = ShortNames();
    return config;
  }
  static std::unique_ptr<Decoder> Load(ops::Device& device, ops::WeightFormat format,
                                       std::optional<KvType> kv_type) {
    const SyntheticSource source(Config(), format);
    auto model = Decoder::Load(Config(), source, device, {.format = format, .kv_type = kv_type});
    TESSERA_CHECK(model.ok());
    return *std::move(model);
  }
};

constexpr ops::WeightFormat kF32 = {.type = ops::WeightType::kF32};
constexpr ops::WeightFormat kBF16 = {.type = ops::WeightType::kBF16};

TEST_F(KeysAndValues, FollowTheWeightsUnlessNamed) {
  const auto device = ops::ref::MakeRefDevice();
  EXPECT_EQ(Load(*device, kF32, {})->kv_type(), KvType::kF32);
  EXPECT_EQ(Load(*device, kBF16, {})->kv_type(), KvType::kBF16);
  EXPECT_EQ(Load(*device, kF32, KvType::kBF16)->kv_type(), KvType::kBF16);
  const auto model = Load(*device, kBF16, KvType::kInt8);
  const auto kv = model->MakeKvCache(1);
  ASSERT_TRUE(kv.ok());
  EXPECT_EQ((*kv)->layer(0).format.type, KvType::kInt8);
}

TEST_F(KeysAndValues, AreRefusedByADeviceThatCannotHoldThem) {
  ReferenceDevice device;  // leaves Device::HoldsKv as it is
  EXPECT_TRUE(Load(device, kBF16, KvType::kF32)->MakeKvCache(1).ok());
  const auto kv = Load(device, kBF16, KvType::kInt8)->MakeKvCache(1);
  ASSERT_FALSE(kv.ok());
  EXPECT_EQ(kv.status().message(),
            "keys and values as int8: not on device test; accepted there: auto, f32, bf16 (int8: "
            "device cpu)");
}

}  // namespace
}  // namespace tessera::models
