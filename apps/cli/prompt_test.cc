#include "apps/cli/prompt.h"

#include <gtest/gtest.h>

namespace tessera::cli {
namespace {

TEST(Prompt, ParsesIds) {
  const auto ids = ParseIds("1, 2 3\n40");
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(*ids, (std::vector<api::TokenId>{1, 2, 3, 40}));
  for (const char* bad : {"", " ,", "1,x", "-1", "1.5", "99999999999", "0x10"}) {
    const auto result = ParseIds(bad);
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(result.status().message().find("--ids"), std::string::npos);
  }
}

TEST(Prompt, CutsTextAtItsHoles) {
  const auto parsed = ParseHoles("A [[3]] sat on the[[12]].");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->pieces, (std::vector<std::string>{"A", " sat on the", "."}));
  EXPECT_EQ(parsed->holes, (std::vector<int>{3, 12}));
}

TEST(Prompt, BracketsThatAreNoHolesAreText) {
  const auto parsed = ParseHoles("[[1, 2], [3, 4]] [[x]] [[]] [[ [[2]]");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->pieces, (std::vector<std::string>{"[[1, 2], [3, 4]] [[x]] [[]] [[", ""}));
  EXPECT_EQ(parsed->holes, (std::vector<int>{2}));
}

TEST(Prompt, RefusesHolesThatCannotBe) {
  for (const char* bad : {"no hole", "[[0]]", "[[5000]]", "[[99999999999999999999]]"}) {
    EXPECT_FALSE(ParseHoles(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace tessera::cli
