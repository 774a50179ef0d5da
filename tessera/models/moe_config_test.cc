// config.json of mixture-of-experts models: published sizes, and what is refused.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tessera/models/architecture.h"

namespace tessera::models {
namespace {

using nlohmann::json;

json LLaDAMoe() {  // LLaDA-MoE-7B-A1B
  return {{"architectures", {"LLaDAMoEModelLM"}},
          {"model_type", "llada"},
          {"hidden_size", 2048},
          {"num_hidden_layers", 16},
          {"num_attention_heads", 16},
          {"num_key_value_heads", 16},
          {"dense_intermediate_size", 8192},
          {"expert_intermediate_size", 1024},
          {"shared_expert_intermediate_size", nullptr},
          {"num_experts", 64},
          {"num_experts_per_tok", 8},
          {"moe_layer_freq", std::vector<int>(16, 1)},
          {"qk_layernorm", true},
          {"partial_rotary_factor", 1},
          {"rope_theta", 50000},
          {"max_position_embeddings", 8192},
          {"vocab_size", 157184},
          {"eos_token_id", 156892}};
}

json LLaDA2Mini() {
  return {{"architectures", {"LLaDA2MoeModelLM"}},
          {"model_type", "llada2_moe"},
          {"hidden_size", 2048},
          {"num_hidden_layers", 20},
          {"num_attention_heads", 16},
          {"num_key_value_heads", 4},
          {"head_dim", 128},
          {"intermediate_size", 5120},
          {"moe_intermediate_size", 512},
          {"num_experts", 256},
          {"num_experts_per_tok", 8},
          {"num_shared_experts", 1},
          {"first_k_dense_replace", 1},
          {"n_group", 8},
          {"topk_group", 4},
          {"routed_scaling_factor", 2.5},
          {"partial_rotary_factor", 0.5},
          {"use_bias", false},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 600000},
          {"max_position_embeddings", 32768},
          {"vocab_size", 157184},
          {"eos_token_id", 156892}};
}

json Qwen3Moe() {
  return {{"architectures", {"Qwen3MoeForCausalLM"}},
          {"hidden_size", 2048},
          {"num_hidden_layers", 48},
          {"num_attention_heads", 32},
          {"num_key_value_heads", 4},
          {"head_dim", 128},
          {"intermediate_size", 6144},
          {"moe_intermediate_size", 768},
          {"num_experts", 128},
          {"num_experts_per_tok", 8},
          {"norm_topk_prob", true},
          {"vocab_size", 151936}};
}

Result<DecoderConfig> Parse(const json& config) {
  TESSERA_ASSIGN_OR_RETURN(const JsonObject object, JsonObject::Of(config, "config.json"));
  TESSERA_ASSIGN_OR_RETURN(const Architecture* architecture, FindArchitecture(object));
  return architecture->parse(object);
}

TEST(MoeConfig, LLaDAMoeHasItsPublishedSize) {
  const auto config = Parse(LLaDAMoe());
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->architecture, "llada_moe");
  EXPECT_NEAR(static_cast<double>(config->parameters()), 7.36e9, 0.01e9);
  EXPECT_NEAR(static_cast<double>(config->active_parameters()), 1.40e9, 0.01e9);
  EXPECT_EQ(config->traits.attention, ops::AttentionKind::kBidirectional);
  EXPECT_FALSE(config->traits.shifted_logits);
  EXPECT_EQ(config->traits.mask_id, 156895);
  EXPECT_FALSE(config->mixture.router.normalise);
  EXPECT_EQ(config->rotated(), 128);
}

TEST(MoeConfig, LLaDA2MiniHasItsPublishedSize) {
  const auto config = Parse(LLaDA2Mini());
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->architecture, "llada2_moe");
  EXPECT_NEAR(static_cast<double>(config->parameters()), 16.26e9, 0.01e9);
  // Published as 1.44e9, the embedding counted, of which a row reads one line.
  EXPECT_NEAR(static_cast<double>(config->active_parameters()), 1.44e9 - 157184 * 2048, 0.02e9);
  EXPECT_EQ(config->traits.attention, ops::AttentionKind::kBlockCausal);
  EXPECT_EQ(config->traits.block, 32);
  EXPECT_EQ(config->traits.mask_id, 156895);
  EXPECT_EQ(config->rotated(), 64);
  EXPECT_FALSE(config->IsMixture(0));
  EXPECT_TRUE(config->IsMixture(1));
  EXPECT_EQ(config->mixture.shared_width, 512);
  EXPECT_TRUE(config->mixture.router.normalise);
}

TEST(MoeConfig, Qwen3MoeHasItsPublishedSize) {
  const auto config = Parse(Qwen3Moe());
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_NEAR(static_cast<double>(config->parameters()), 30.5e9, 0.1e9);
  EXPECT_NEAR(static_cast<double>(config->active_parameters()), 3.04e9, 0.05e9);
}

TEST(MoeConfig, Qwen3MoeDenseLayers) {
  json config = Qwen3Moe();
  config["num_hidden_layers"] = 6;
  config["decoder_sparse_step"] = 2;
  config["mlp_only_layers"] = {3};
  const auto parsed = Parse(config);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->mixture.layers, (std::vector<bool>{false, true, false, false, false, true}));
}

TEST(MoeConfig, TheClassDecidesWhereModelTypesAreEqual) {
  json config = LLaDAMoe();
  config["architectures"] = {"LLaDAModelLM"};
  EXPECT_FALSE(Parse(config).ok());  // a dense LLaDA has other fields
}

TEST(MoeConfig, SmallVocabulariesNeedANamedMask) {
  json config = LLaDAMoe();
  config["vocab_size"] = 1000;
  config["eos_token_id"] = 999;
  ASSERT_TRUE(Parse(config).ok());
  EXPECT_EQ(Parse(config)->traits.mask_id, -1);
  config["mask_token_id"] = 990;
  EXPECT_EQ(Parse(config)->traits.mask_id, 990);
}

struct Refusal {
  const char* field;
  json value;
  const char* message;
};

void CheckRefusals(const json& good, const std::vector<Refusal>& refusals) {
  ASSERT_TRUE(Parse(good).ok());
  for (const Refusal& refusal : refusals) {
    json config = good;
    config[refusal.field] = refusal.value;
    const Status status = Parse(config).status();
    EXPECT_FALSE(status.ok()) << refusal.field << " = " << refusal.value;
    EXPECT_NE(status.message().find(refusal.message), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("config.json"), std::string::npos) << status.message();
  }
}

TEST(MoeConfig, LLaDAMoeRefusesWhatWouldBeAnotherNetwork) {
  CheckRefusals(LLaDAMoe(), {{"clip_qkv", 8.0, "'clip_qkv': got 8.0"},
                             {"moe_router_enable_expert_bias", true, "accepted: null, false"},
                             {"moe_router_score_function", "sigmoid", "accepted: softmax"},
                             {"moe_layer_freq", {1, 1}, "got 2 numbers, accepted: one per layer"},
                             {"moe_layer_freq", std::vector<int>(16, 2), "moe_layer_freq"},
                             {"num_experts", 0, "num_experts"},
                             {"num_experts", 1 << 15, "num_experts"},

                             {"num_experts_per_tok", 65, "num_experts_per_tok"},
                             {"num_experts_per_tok", 0, "num_experts_per_tok"},
                             {"expert_intermediate_size", -1, "expert_intermediate_size"},
                             {"shared_expert_intermediate_size", -1, "shared_expert"},
                             {"partial_rotary_factor", -1, "partial_rotary_factor"},
                             {"partial_rotary_factor", 0.001, "rotates 0 of 128"},
                             {"attention_bias", true, "attention_bias"}});
}

TEST(MoeConfig, LLaDA2RefusesWhatWouldBeAnotherNetwork) {
  CheckRefusals(LLaDA2Mini(), {{"use_bias", true, "'use_bias': got true, accepted: false"},
                               {"norm_head", true, "'norm_head'"},
                               {"norm_topk_prob", false, "accepted: true"},
                               {"moe_router_enable_expert_bias", false, "accepted: true"},
                               {"score_function", "softmax", "accepted: sigmoid"},
                               {"n_group", 7, "groups of equal size"},
                               {"n_group", 129, "'n_group'"},
                               {"topk_group", 9, "'topk_group'"},
                               {"num_experts_per_tok", 200, "leave 200 experts or more"},
                               {"num_experts", 1, "num_experts_per_tok"},
                               {"first_k_dense_replace", 21, "first_k_dense_replace"},
                               {"num_shared_experts", -1, "num_shared_experts"},
                               {"num_key_value_heads", 0, "num_key_value_heads"},
                               {"rope_scaling", {{"type", "yarn"}, {"factor", 4}}, "yarn"},
                               {"partial_rotary_factor", 1.5, "partial_rotary_factor"}});
}

TEST(MoeConfig, HostileExpertCountsDoNotBuildHostileLists) {
  json config = Qwen3Moe();
  config["num_experts"] = 1 << 14;
  config["num_hidden_layers"] = 1 << 14;
  const Status status = Parse(config).status();
  EXPECT_NE(status.message().find("accepted: at most 262144 in all"), std::string::npos)
      << status.message();
}

}  // namespace
}  // namespace tessera::models
