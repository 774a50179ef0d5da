#include "tessera/api/speed.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tessera/api/internal/networks.h"
#include "tessera/models/architecture.h"

namespace tessera::api {
namespace {

TEST(SpeedCases, NamesAreUniqueAndLeadBackToTheCase) {
  std::set<std::string> names;
  for (const SpeedCase& listed : ListSpeedCases()) {
    EXPECT_TRUE(names.insert(listed.Name()).second) << listed.Name();
    const Result<SpeedCase> parsed = ParseSpeedCase(listed.Name());
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    EXPECT_EQ(parsed->Name(), listed.Name());
    EXPECT_EQ(parsed->target_ratio, listed.target_ratio);
  }
  EXPECT_TRUE(names.contains("llada-8b:bf16:8x32x1280"));
  EXPECT_TRUE(names.contains("qwen3-8b:int4:1x32x1280"));
}

TEST(SpeedCases, AnyShapeOfAKnownNetworkIsACase) {
  const Result<SpeedCase> parsed = ParseSpeedCase("small:int4-g32-asym:2x3x16");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->format, "int4-g32-asym");
  EXPECT_EQ(parsed->shape.sequences, 2);
  EXPECT_EQ(parsed->shape.rows, 3);
  EXPECT_EQ(parsed->shape.keys, 16);
  EXPECT_EQ(parsed->target_ratio, 0);
  for (const char* wrong : {"", "small", "small:bf16", "small:bf16:1x2", "small:bf16:1x2x3x4",
                            "small:bf16:1x2x", "small:bf16:axbxc", "other:bf16:1x2x3"}) {
    EXPECT_EQ(ParseSpeedCase(wrong).status().code(), StatusCode::kInvalidArgument) << wrong;
  }
}

TEST(SpeedCases, TargetsOfOtherNetworksAreTheRatiosOfLLaDA) {
  const Result<SpeedCase> llada = ParseSpeedCase("llada-8b:bf16:1x32x1280");
  const Result<SpeedCase> dream = ParseSpeedCase("dream-7b:bf16:1x32x1280");
  ASSERT_TRUE(llada.ok() && dream.ok());
  EXPECT_EQ(llada->target_ms, 4.2);
  EXPECT_NEAR(llada->target_ratio, 4.2 / 3.68, 1e-12);
  EXPECT_EQ(dream->target_ms, 0);
  EXPECT_EQ(dream->target_ratio, llada->target_ratio);
}

TEST(SpeedCases, NetworksHaveTheSizesOfTheirModels) {
  const std::map<std::string, double> parameters = {{"llada-8b", 8.02e9},
                                                    {"dream-7b", 7.62e9},
                                                    {"sdar-8b", 8.19e9},
                                                    {"qwen3-8b", 8.19e9},
                                                    {"small", 2.2e6}};
  for (const std::string& network : ListNetworks()) {
    const Result<nlohmann::json> json = SyntheticConfig(network, 0);
    ASSERT_TRUE(json.ok());
    const Result<JsonObject> config = JsonObject::Of(*json, network);
    ASSERT_TRUE(config.ok());
    const auto architecture = models::FindArchitecture(*config);
    ASSERT_TRUE(architecture.ok()) << architecture.status().message();
    const auto decoder = (*architecture)->parse(*config);
    ASSERT_TRUE(decoder.ok()) << decoder.status().message();
    const double expected = parameters.at(network);
    EXPECT_NEAR(static_cast<double>(decoder->parameters()), expected, 0.01 * expected) << network;
  }
  EXPECT_FALSE(NetworkConfig("other", 0).ok());
  EXPECT_NE(NetworkConfig("sdar-8b", 3)->find("\"num_hidden_layers\":3"), std::string::npos);
}

TEST(TimeForward, CountsWhatItReads) {
  const ForwardShape shape = {.sequences = 3, .rows = 2, .keys = 70};
  const auto model = Model::Synthetic("small", 2, {&shape, 1}, {.device = "ref", .dtype = "f32"});
  ASSERT_TRUE(model.ok()) << model.status().message();
  const Result<ForwardTiming> timing = (*model)->TimeForward(shape, 1);
  ASSERT_TRUE(timing.ok()) << timing.status().message();
  EXPECT_GT(timing->seconds, 0);
  EXPECT_EQ(timing->kv_bytes, 3 * 72 * 2 /*layers*/ * 2 /*K, V*/ * 256 * 4);
  EXPECT_EQ(timing->weight_bytes, (*model)->info().weight_bytes);
  for (const ForwardShape& wrong :
       {ForwardShape{0, 1, 0}, ForwardShape{1, 0, 0}, ForwardShape{1, 1, -1},
        ForwardShape{1, 1, 4096}, ForwardShape{1 << 20, 1, 0}}) {
    EXPECT_EQ((*model)->TimeForward(wrong, 1).status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE((*model)->TimeForward(shape, 0).ok());
}

}  // namespace
}  // namespace tessera::api
