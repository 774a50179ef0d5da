#include "apps/eval/benchmark_graders.h"

#include <gtest/gtest.h>

namespace tessera::eval {
namespace {

Case Make(const std::string& grader, nlohmann::json meta, const std::string& answer = "") {
  Case c;
  c.grader = grader;
  c.meta = std::move(meta);
  c.answer = answer;
  EXPECT_TRUE(CheckGrader(c.grader, c.meta).ok());
  return c;
}

// "right strict", "right lenient" or "wrong".
std::string Said(const std::string& output, const Case& c) {
  const Verdict verdict = Grade(output, c).value();
  EXPECT_LE(verdict.strict, verdict.score) << output;
  return !verdict.right() ? "wrong" : verdict.strict >= 1 ? "right strict" : "right lenient";
}

const nlohmann::json kPeople = {{"items", {"Ada Chan", "Bob Li", "Sam Day"}}, {"new", "Kim Page"}};

TEST(LenientList, TakesTheLastListOfAnyForm) {
  EXPECT_EQ(ParseLenientList("[\"a b\", \"c\"]"), (Strings{"a b", "c"}));
  EXPECT_EQ(ParseLenientList("first [x], then ['a' , b,] and more"), (Strings{"a", "b"}));
  EXPECT_EQ(ParseLenientList("a, b"), (Strings{"a", "b"}));
  EXPECT_EQ(ParseLenientList("[]"), Strings());
  EXPECT_EQ(ParseLenientList("[\"open"), (Strings{"open"}));
}

TEST(StrictList, TakesOneFormOnly) {
  EXPECT_EQ(ParseStrictList(" [\"a b\", \"c\"]\n"), (Strings{"a b", "c"}));
  EXPECT_EQ(ParseStrictList("[]"), Strings());
  for (const char* bad : {"\"a\", \"b\"", "[\"a\",\"b\"]", "['a', 'b']", "[a, b]", "[\"a\", \"b\"",
                          "[\"a\" , \"b\"]", "[\"a\"b\"]", "[\"]", "x [\"a\"]", "", "[", "]"}) {
    EXPECT_EQ(ParseStrictList(bad), std::nullopt) << bad;
  }
}

TEST(PbList, EqualsTheAnswer) {
  const Case c = Make("pb_list", nullptr, "[\"Ada Chan\", \"Bob Li\"]");
  EXPECT_EQ(Said("[\"Ada Chan\", \"Bob Li\"]", c), "right strict");
  EXPECT_EQ(Said("Sure: [Ada Chan, Bob Li]", c), "right lenient");
  EXPECT_EQ(Said("[\"Bob Li\", \"Ada Chan\"]", c), "wrong");
  EXPECT_EQ(Said("[\"Ada Chan\"]", c), "wrong");
  EXPECT_EQ(Said("", c), "wrong");
}

TEST(PbShuffle, WantsAnotherOrderOfTheSame) {
  const Case c = Make("pb_shuffle", kPeople);
  EXPECT_EQ(Said("[\"Bob Li\", \"Ada Chan\", \"Sam Day\"]", c), "right strict");
  EXPECT_EQ(Said("Bob Li, Ada Chan, Sam Day", c), "right lenient");
  EXPECT_EQ(Said("[\"Ada Chan\", \"Bob Li\", \"Sam Day\"]", c), "wrong") << "not moved";
  EXPECT_EQ(Said("[\"Bob Li\", \"Bob Li\", \"Sam Day\"]", c), "wrong");
  EXPECT_EQ(Said("[", c), "wrong");
}

TEST(PbInsert, WantsTheListAroundTheNewItem) {
  const Case c = Make("pb_insert", kPeople);
  EXPECT_EQ(Said("[\"Kim Page\", \"Ada Chan\", \"Bob Li\", \"Sam Day\"]", c), "right strict");
  EXPECT_EQ(Said("[Ada Chan, Bob Li, Sam Day, Kim Page]", c), "right lenient");
  EXPECT_EQ(Said("[\"Ada Chan\", \"Bob Li\", \"Sam Day\"]", c), "wrong");
  EXPECT_EQ(Said("[\"Kim Page\", \"Bob Li\", \"Ada Chan\", \"Sam Day\"]", c), "wrong");
}

TEST(PbRemove, WantsExactlyOneLess) {
  const Case c = Make("pb_remove", kPeople);
  EXPECT_EQ(Said("[\"Ada Chan\", \"Sam Day\"]", c), "right strict");
  EXPECT_EQ(Said("[\"Ada Chan\"]", c), "wrong");
  EXPECT_EQ(Said("[\"Sam Day\", \"Ada Chan\"]", c), "wrong");
  EXPECT_EQ(Said("[\"Ada Chan\", \"Bob Li\", \"Sam Day\"]", c), "wrong");
}

TEST(PbReplace, WantsOneReplaced) {
  const Case c = Make("pb_replace", kPeople);
  EXPECT_EQ(Said("[\"Ada Chan\", \"Kim Page\", \"Sam Day\"]", c), "right strict");
  EXPECT_EQ(Said("[\"Kim Page\", \"Kim Page\", \"Sam Day\"]", c), "wrong");
  EXPECT_EQ(Said("[\"Ada Chan\", \"Bob Li\", \"Sam Day\"]", c), "wrong");
}

TEST(PbLatin, FindsTheSquareAmongOtherLines) {
  const Case c = Make("pb_latin", {{"symbols", {"A", "B", "C", "7"}}});
  const std::string square = "A,B,C,7\nB,A,7,C\nC,7,A,B\n7,C,B,A";
  EXPECT_EQ(Said(square, c), "right strict");
  EXPECT_EQ(Said("Here it is:\n\n" + square + "\nDone.", c), "right lenient");
  EXPECT_EQ(Said(square + "\nA,B,C,7", c), "right lenient") << "a fifth row";
  EXPECT_EQ(Said("A,B,C,7\nA,B,C,7\nC,7,A,B\n7,C,B,A", c), "wrong");
  EXPECT_EQ(Said("A,B,C,7\nB,A,7,C\nC,7,A,B", c), "wrong");
  EXPECT_EQ(Said("A,A,B,C", c), "wrong");
}

TEST(PbGrid, ComparesDigits) {
  const Case c = Make("pb_grid", nullptr, "1342\n2431\n4123\n3214");
  EXPECT_EQ(Said("1342\n2431\n4123\n3214\n", c), "right strict");
  EXPECT_EQ(Said("1,3,4,2\n2,4,3,1\n4,1,2,3\n3,2,1,4", c), "right lenient");
  EXPECT_EQ(Said("1342243141233214", c), "wrong") << "lines are part of the grid";
  EXPECT_EQ(Said("1342\n2431\n4123\n3241", c), "wrong");
  EXPECT_EQ(Said("", c), "wrong");
}

TEST(PbWords, WantsEveryWord) {
  const Case c = Make("pb_words", {{"items", {"dog", "park"}}});
  EXPECT_EQ(Said("The dog runs in the park.", c), "right strict");
  EXPECT_EQ(Said("Dogs love a Park.", c), "right lenient");
  EXPECT_EQ(Said("The dog runs.", c), "wrong");
}

// Longest common subsequence "the cat on mat" is 4 long: F = 2 * 4 / (5 + 6).
TEST(RougeL, IsTheFMeasureOfTheCommonSubsequence) {
  EXPECT_NEAR(RougeL("The cat is on mat", "the cat sat on the mat"), 8.0 / 11, 1e-12);
  EXPECT_EQ(RougeL("a b c", "A, b! c?"), 1);
  EXPECT_EQ(RougeL("", "a"), 0);
  EXPECT_EQ(RougeL("", ""), 0);
  EXPECT_EQ(RougeL("x", "y"), 0);
  const Case c = Make("rouge_l", nullptr, "the cat sat on the mat");
  EXPECT_FALSE(Grade("The cat is on mat", c)->right());
  EXPECT_TRUE(HasPartialScores("rouge_l"));
  EXPECT_FALSE(HasPartialScores("pb_list"));
}

TEST(FinalNumber, ReadsMarkedAndPlainNumbers) {
  EXPECT_EQ(FinalNumber("so #### 1,234", true), "1234");
  EXPECT_EQ(FinalNumber("#### -5", true), "-5");
  EXPECT_EQ(FinalNumber("#### $ 007.50 dollars", true), "7.5");
  EXPECT_EQ(FinalNumber("#### 3 #### 4", true), "4");
  EXPECT_EQ(FinalNumber("it is 12.", false), "12");
  EXPECT_EQ(FinalNumber("3 apples, 4.0 pears", false), "4");
  EXPECT_EQ(FinalNumber("10-3 is 7", false), "7");
  EXPECT_EQ(FinalNumber("it is 12.", true), std::nullopt);
  EXPECT_EQ(FinalNumber("####", true), std::nullopt);
  EXPECT_EQ(FinalNumber("#### x = 4", true), std::nullopt);
  EXPECT_EQ(FinalNumber("none", false), std::nullopt);
  EXPECT_EQ(FinalNumber("#### 0.00", true), "0");
  EXPECT_EQ(FinalNumber("at -0", false), "0");
}

TEST(Gsm8k, ComparesFinalNumbers) {
  const Case c = Make("gsm8k", nullptr, "2 + 2 = <<2+2=4>>4\n#### 1,004");
  EXPECT_EQ(Said("It is #### 1004", c), "right strict");
  EXPECT_EQ(Said("It is $1,004.00.", c), "right lenient");
  EXPECT_EQ(Said("#### 1005", c), "wrong");
  EXPECT_EQ(Said("1004 #### 1005", c), "wrong");
  EXPECT_EQ(Said("", c), "wrong");
}

TEST(BenchmarkGraders, NeedTheirMeta) {
  EXPECT_FALSE(CheckGrader("pb_shuffle", nullptr).ok());
  EXPECT_FALSE(CheckGrader("pb_insert", {{"items", {"a"}}}).ok());
  EXPECT_FALSE(CheckGrader("pb_latin", {{"symbols", "ABCD"}}).ok());
  EXPECT_FALSE(CheckGrader("pb_words", {{"items", {1}}}).ok());
}

}  // namespace
}  // namespace tessera::eval
