// Real small models reproduce independently computed likelihoods. Needs ../shared/data.
#include <gtest/gtest.h>

#include <filesystem>

#include "tessera/api/model.h"
#include "tests/golden/golden.h"

namespace tessera {
namespace {

constexpr const char* kText =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.";

struct Known {
  const char* name;
  const char* weights;
  const char* tokenizer;
  double nll_per_token;
};

class Likelihood : public ::testing::TestWithParam<Known> {};

TEST_P(Likelihood, IsReproduced) {
  const std::string data = std::string(TESSERA_SOURCE_DIR) + "/../shared/data/weights/";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "needs ../shared/data";
  const auto model =
      api::Model::Load(data + GetParam().weights,
                       {.device = golden::DeviceName(), .tokenizer = data + GetParam().tokenizer});
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto ids = (*model)->Encode(kText, /*special=*/true);
  ASSERT_TRUE(ids.ok()) << ids.status().message();
  ASSERT_EQ(ids->front(), 1) << "begins with BOS";
  const auto score = (*model)->ScoreIds(*ids);
  ASSERT_TRUE(score.ok()) << score.status().message();
  EXPECT_NEAR(score->nll_per_token, GetParam().nll_per_token, 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Llama2c, Likelihood,
                         ::testing::Values(Known{"stories260K", "stories260K/stories260K.bin",
                                                 "stories260K/tok512.bin", 0.1804},
                                           Known{"stories260Kv1", "stories260K/checkpoint_v1.bin",
                                                 "stories260K/tok512.bin", 0.1804},
                                           Known{"llama2xs", "llama2xs/model.bin",
                                                 "stories260K/tok512.bin", 0.2919},
                                           Known{"babyllama", "babyllama-tok105/model5000.bin",
                                                 "babyllama-tok105/tok105.model", 0.0716}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tessera
