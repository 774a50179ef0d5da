#include "tessera/decode/draft/prompt_lookup.h"

#include <gtest/gtest.h>

namespace tessera::decode {
namespace {

using Tokens = std::vector<ops::TokenId>;

TEST(PromptLookup, ContinuesTheLongestAndNewestMatch) {
  PromptLookup lookup(3, 1, 2);
  EXPECT_EQ(lookup.Propose(Tokens{1, 2, 3, 4, 5, 1, 2, 3}, 8), (Tokens{4, 5}));
  EXPECT_EQ(lookup.Propose(Tokens{7, 1, 7, 2, 7}, 8), (Tokens{2, 7})) << "the newest 7 wins";
}

TEST(PromptLookup, ProposesNothingWithoutAMatchOrRoom) {
  PromptLookup lookup(3, 1, 4);
  EXPECT_TRUE(lookup.Propose(Tokens{1, 2, 3}, 8).empty());
  EXPECT_TRUE(lookup.Propose(Tokens{}, 8).empty());
  EXPECT_TRUE(lookup.Propose(Tokens{1, 1}, 0).empty());
}

TEST(PromptLookup, NeverMoreThanAsked) {
  PromptLookup lookup(1, 1, 8);
  EXPECT_EQ(lookup.Propose(Tokens{1, 2, 3, 4, 1}, 2), (Tokens{2, 3}));
}

}  // namespace
}  // namespace tessera::decode
