#include "tessera/models/synthetic_source.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tessera/models/testing.h"
#include "tessera/ops/weight_rounding.h"

namespace tessera::models {
namespace {

DecoderConfig SmallConfig() {
  DecoderConfig config;
  config.vocab = 50;
  config.width = 96;
  config.layers = 2;
  config.heads = config.kv_heads = 3;
  config.head_dim = 32;
  config.ffn_width = 160;
  config.names = ShortNames();
  return config;
}

TEST(SyntheticSourceTest, HoldsEveryTensorOnceInTheFormatAskedFor) {
  const DecoderConfig config = SmallConfig();
  std::vector<std::string> expected;
  for (const TensorSpec& tensor : ListTensors(config)) expected.push_back(tensor.name);
  std::sort(expected.begin(), expected.end());
  for (const char* text : {"bf16", "int8-g0", "int4-g64"}) {
    const ops::WeightFormat format = *ops::ParseWeightFormat(text);
    const SyntheticSource source(config, format);
    EXPECT_EQ(source.names(), expected) << text;
    int64_t bytes = 0;
    for (const TensorSpec& tensor : ListTensors(config)) {
      const QuantizedTensor* integers = source.FindQuantized(tensor.name);
      const TensorView* view = source.Find(tensor.name);
      ASSERT_NE(integers == nullptr, view == nullptr) << tensor.name;
      EXPECT_EQ(integers != nullptr ? integers->shape() : view->shape, tensor.shape);
      EXPECT_EQ(integers != nullptr, ops::IsInteger(format.type) && tensor.shape.size() == 2);
      if (integers != nullptr && tensor.name != "e" && tensor.name != "h") {
        EXPECT_TRUE(ops::KeepsCodes(integers->layout(), format)) << tensor.name;
      }
      bytes += integers != nullptr ? integers->bytes() : view->bytes();
    }
    EXPECT_EQ(source.total_bytes(), bytes);
  }
}

TEST(SyntheticSourceTest, IntegersAreCodesOfTheirBitsAndRowsDiffer) {
  const SyntheticSource source(SmallConfig(), *ops::ParseWeightFormat("int4-g32"));
  const QuantizedTensor* tensor = source.FindQuantized("1.d");
  ASSERT_NE(tensor, nullptr);
  std::vector<uint8_t> first(160), second(160);
  std::vector<float> scales(5), mins(5);
  tensor->ReadRow(0, first.data(), scales.data(), mins.data());
  tensor->ReadRow(1, second.data(), scales.data(), mins.data());
  EXPECT_NE(first, second);
  EXPECT_EQ(*std::max_element(first.begin(), first.end()), 15);
  EXPECT_EQ(*std::min_element(first.begin(), first.end()), 0);
  EXPECT_FLOAT_EQ(mins[4], -8 * scales[4]);
}

}  // namespace
}  // namespace tessera::models
