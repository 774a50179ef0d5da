#include <gtest/gtest.h>

#include "tessera/ops/matrix.h"

namespace tessera::ops {
namespace {

TEST(WeightFormatTest, TextsReadBack) {
  for (const char* text :
       {"f32", "bf16", "fp8", "int8-g0", "int8-g256", "int4-g32", "int4-g64-asym"}) {
    const auto format = ParseWeightFormat(text);
    ASSERT_TRUE(format.ok()) << text;
    EXPECT_EQ(Name(*format), text);
  }
  EXPECT_EQ(Name(*ParseWeightFormat("int8")), "int8-g256");
  EXPECT_EQ(Name(*ParseWeightFormat("int4")), "int4-g64");
  EXPECT_EQ(Name(*ParseWeightFormat("int4-asym")), "int4-g64-asym");
}

TEST(WeightFormatTest, OtherTextsAreRefusedWithTheList) {
  for (const char* text :
       {"", "int", "int2", "fp8-g64", "int4-g", "int4-g48", "int4-g-32", "int4g64", "int8-asym",
        "bf16-g64", "int4-g64-asymm", "int4-g99999999999"}) {
    const auto format = ParseWeightFormat(text);
    ASSERT_FALSE(format.ok()) << text;
    EXPECT_EQ(format.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(format.status().message().find("int4-gN-asym"), std::string::npos);
  }
}

}  // namespace
}  // namespace tessera::ops
