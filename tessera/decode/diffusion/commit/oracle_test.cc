#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

RuleUnderTest MakeOracle(const char* reference) {
  return RuleUnderTest(commit::Oracle(), {{"reference", reference}}, {}, {.vocab_size = 10});
}

std::vector<RowStats> Tokens(const std::vector<TokenId>& tokens) {
  std::vector<RowStats> stats(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) stats[i].sampled = stats[i].argmax = tokens[i];
  return stats;
}

TEST(OracleRule, CommitsExactlyTheRightPredictions) {
  RuleUnderTest rule = MakeOracle("4+5+6");
  EXPECT_TRUE(rule.rule().Begin({.undecided = 3, .first_undecided = 20}).ok());
  std::vector<TokenId> ids;
  for (int32_t position = 20; position < 23; ++position) rule.rule().Probe(position, &ids);
  EXPECT_EQ(ids, (std::vector<TokenId>{4, 5, 6}));
  EXPECT_EQ(rule.SelectWith({20, 21, 22}, Tokens({4, 9, 6}), 3), (Indices{0, 2}));
  EXPECT_EQ(rule.SelectWith({21}, Tokens({9}), 3), (Indices{0})) << "nothing right: filled in";
  EXPECT_EQ(rule.candidates()[0].token, 5);
}

TEST(OracleRule, PastTheReferenceEverythingIsRight) {
  RuleUnderTest rule = MakeOracle("4");
  EXPECT_TRUE(rule.rule().Begin({.undecided = 2, .first_undecided = 20}).ok());
  EXPECT_EQ(rule.SelectWith({20, 21}, Tokens({9, 3}), 2), (Indices{1}));
}

}  // namespace
}  // namespace tessera::decode
