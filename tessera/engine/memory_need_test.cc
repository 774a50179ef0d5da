#include "tessera/engine/memory_need.h"

#include <gtest/gtest.h>

namespace tessera::engine {
namespace {

models::DecoderConfig Config() {
  models::DecoderConfig config;
  config.vocab = 1000;
  config.width = 256;
  config.layers = 4;
  config.heads = 8;
  config.kv_heads = 2;
  config.head_dim = 32;
  config.ffn_width = 1024;
  config.traits.max_positions = 2048;
  return config;
}

TEST(MemoryNeed, CountsWhatAForwardKeeps) {
  const models::DecoderConfig config = Config();
  EXPECT_EQ(WeightBytes(1000, {.type = ops::WeightType::kF32}), 4000);
  EXPECT_EQ(WeightBytes(1000, {.type = ops::WeightType::kBF16}), 2000);
  EXPECT_EQ(WeightBytes(1000, {.type = ops::WeightType::kInt8}), 1062.5);
  EXPECT_EQ(WeightBytes(1000, {.type = ops::WeightType::kInt4}), 562.5);

  const MemoryNeed need = EstimateMemory(config, 1e6, ops::KvType::kBF16);
  EXPECT_EQ(need.weights, 1e6);
  EXPECT_EQ(need.positions, 2048);
  EXPECT_EQ(need.keys_and_values, 2 * 4 * 2 * 32 * 2048 * 2);
  EXPECT_EQ(need.activations, 4 * 2048 * (2 * 256 + 2 * 256 + 2 * 64) + 4 * 3 * 1024 * 512);
  EXPECT_EQ(EstimateMemory(config, 1e6, ops::KvType::kF32).keys_and_values,
            2 * need.keys_and_values);
  EXPECT_EQ(EstimateMemory(config, 1e6, ops::KvType::kInt8).keys_and_values,
            2 * 4 * 2 * (32 + 4) * 2048);

  const MemoryNeed batch =
      EstimateMemory(config, 1e6, ops::KvType::kBF16, {.positions = 10'000, .rows = 64});
  EXPECT_EQ(batch.positions, 10'000);
  EXPECT_EQ(batch.keys_and_values, 2 * 4 * 2 * 32 * 10'000 * 2);
  EXPECT_EQ(batch.activations, 4 * 64 * (2 * 256 + 2 * 256 + 2 * 64) + 4 * 3 * 1024 * 64);
}

TEST(MemoryNeed, RefusesWhatDoesNotFit) {
  constexpr int64_t kGiB = int64_t{1} << 30;
  const MemoryNeed need = {.weights = 15.0 * kGiB,
                           .keys_and_values = 2.0 * kGiB,
                           .activations = 1.0 * kGiB,
                           .positions = 4096};
  EXPECT_TRUE(CheckMemory(need, {.total = 80 * kGiB, .free = 18 * kGiB}, "m", "cpu", "bf16").ok());
  EXPECT_TRUE(CheckMemory(need, {}, "m", "ref", "bf16").ok());  // unknown
  const Status status =
      CheckMemory(need, {.total = 24 * kGiB, .free = 17 * kGiB}, "folder", "cuda:0", "bf16");
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "folder: 18.0 GiB are needed on cuda:0, 17.0 GiB are free: 15.0 for the weights as "
            "bf16, 2.0 for keys and values of 4096 positions, 1.0 for activations; less is needed "
            "by bf16, int8 and int4");
}

}  // namespace
}  // namespace tessera::engine
