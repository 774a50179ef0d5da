#include "tessera/decode/diffusion/commit/rule_testing.h"
#include "tessera/decode/registry.h"

namespace tessera::decode {
namespace {

TEST(AdjustRule, TakesTheBestAndWhatReachesTheThreshold) {
  RuleUnderTest one(commit::Adjust(), {{"tokens", "1"}});
  EXPECT_EQ(one.Select({0.2f, 0.9f, 0.8f}), (Indices{1}));
  EXPECT_EQ(one.rule().needs().joint_passes, 0);
  RuleUnderTest more(commit::Adjust(), {{"tokens", "1"}, {"threshold", "0.8"}});
  EXPECT_EQ(more.Select({0.2f, 0.9f, 0.8f}), (Indices{1, 2}));
  EXPECT_EQ(more.Select({0.2f, 0.1f}), (Indices{0}));
}

TEST(AdjustRule, NeedsALayerAndFullForwards) {
  ModelTraits traits{.attention = ops::AttentionKind::kBidirectional,
                     .mask_id = 9,
                     .vocab_size = 10,
                     .max_positions = 64};
  const auto message = [&](const char* text) {
    return std::string(MakeStrategy(text, traits, {}).status().message());
  };
  EXPECT_NE(message("adjust").find("joint.safetensors"), std::string::npos);
  EXPECT_EQ(message("adjust=1,cache=dual"), "") << "one token per step needs no layer";
  traits.joint_layer = true;
  EXPECT_EQ(message("adjust=4"), "");
  EXPECT_NE(message("adjust=4,cache=dual").find("accepted: cache=none"), std::string::npos);
}

}  // namespace
}  // namespace tessera::decode
