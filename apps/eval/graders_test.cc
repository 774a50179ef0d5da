#include "apps/eval/graders.h"

#include <gtest/gtest.h>

#include "apps/eval/case.h"

namespace tessera::eval {
namespace {

using nlohmann::json;

json Comma() {
  return {{"style", "comma"}, {"open", ""},  {"sep", ", "},
          {"last_sep", ", "}, {"close", ""}, {"items", {"ash", "oak", "elm"}},
          {"new", "fir"}};
}

Case Make(const std::string& grader, json meta, const std::string& answer = "") {
  return {.task = "t", .messages = {}, .answer = answer, .grader = grader, .meta = std::move(meta)};
}

bool Right(const std::string& output, const Case& c) {
  EXPECT_TRUE(CheckGrader(c.grader, c.meta).ok());
  return Grade(output, c).value().right();
}

TEST(Graders, ExactIgnoresSpaceAround) {
  const Case c = Make("exact", nullptr, "85");
  EXPECT_TRUE(Right(" 85\n", c));
  EXPECT_FALSE(Right("8 5", c));
  EXPECT_FALSE(Right("", c));
}

TEST(Graders, FreeTextIsNotGraded) {
  EXPECT_FALSE(Grade("anything", Make("none", nullptr)).has_value());
}

TEST(Graders, ParsesEveryStyleOfList) {
  const auto parse = [](const std::string& text, const char* open, const char* sep,
                        const char* last, const char* close) {
    return ParseList(text, {{"open", open}, {"sep", sep}, {"last_sep", last}, {"close", close}});
  };
  EXPECT_EQ(parse("a, b, c", "", ", ", ", ", ""), (Strings{"a", "b", "c"}));
  EXPECT_EQ(parse("a, b and c", "", ", ", " and ", ""), (Strings{"a", "b", "c"}));
  EXPECT_EQ(parse("a, b, and c", "", ", ", ", and ", ""), (Strings{"a", "b", "c"}));
  EXPECT_EQ(parse("[\"a\", \"b\"]", "[\"", "\", \"", "\", \"", "\"]"), (Strings{"a", "b"}));
  EXPECT_EQ(parse("- a\n- b", "- ", "\n- ", "\n- ", ""), (Strings{"a", "b"}));
  EXPECT_EQ(parse("[\"a\", \"b\"", "[\"", "\", \"", "\", \"", "\"]"), std::nullopt);
  EXPECT_EQ(parse("[", "[", ", ", ", ", "]"), std::nullopt);
  EXPECT_EQ(parse("", "", ", ", ", ", ""), (Strings{""}));
  EXPECT_EQ(ParseList("1. a\n2. b", {{"style", "numbered"}}), (Strings{"a", "b"}));
  EXPECT_EQ(ParseList("1. a\n3. b", {{"style", "numbered"}}), std::nullopt);
}

TEST(Graders, Shuffle) {
  const Case c = Make("shuffle", Comma());
  EXPECT_TRUE(Right("oak, elm, ash", c));
  EXPECT_FALSE(Right("ash, oak, elm", c)) << "not moved";
  EXPECT_FALSE(Right("oak, elm", c));
  EXPECT_FALSE(Right("oak, elm, ash, ash", c));
  EXPECT_FALSE(Right("oak; elm; ash", c));
}

TEST(Graders, InsertAny) {
  const Case c = Make("insert_any", Comma());
  EXPECT_TRUE(Right("fir, ash, oak, elm", c));
  EXPECT_TRUE(Right("ash, oak, elm, fir", c));
  EXPECT_FALSE(Right("ash, oak, elm", c));
  EXPECT_FALSE(Right("ash, fir, elm, oak", c));
  EXPECT_FALSE(Right("fir, ash, oak, elm, fir", c));
}

TEST(Graders, RemoveAny) {
  const Case c = Make("remove_any", Comma());
  EXPECT_TRUE(Right("oak, elm", c));
  EXPECT_TRUE(Right("ash, elm", c));
  EXPECT_TRUE(Right("ash, oak", c));
  EXPECT_FALSE(Right("ash, oak, elm", c));
  EXPECT_FALSE(Right("elm, oak", c));
  EXPECT_FALSE(Right("ash", c));
}

TEST(Graders, ReplaceAny) {
  const Case c = Make("replace_any", Comma());
  EXPECT_TRUE(Right("fir, oak, elm", c));
  EXPECT_TRUE(Right("ash, oak, fir", c));
  EXPECT_FALSE(Right("ash, oak, elm", c));
  EXPECT_FALSE(Right("fir, fir, elm", c));
  EXPECT_FALSE(Right("ash, oak, elm, fir", c));
}

TEST(Graders, Latin) {
  const Case c = Make("latin", {{"symbols", {"A", "B", "C", "D"}}});
  EXPECT_TRUE(Right("A,B,C,D\nB,A,D,C\nC, D, A, B\nD,C,B,A\n", c));
  EXPECT_FALSE(Right("A,B,C,D\nA,B,C,D\nC,D,A,B\nD,C,B,A", c)) << "columns repeat";
  EXPECT_FALSE(Right("A,B,C,D\nB,A,D,C\nC,D,A,B", c)) << "three rows";
  EXPECT_FALSE(Right("A,B,C,C\nB,A,D,C\nC,D,A,B\nD,C,B,A", c));
}

TEST(Graders, RefusesUnknownGradersAndMissingMeta) {
  EXPECT_FALSE(CheckGrader("vibes", nullptr).ok());
  EXPECT_FALSE(CheckGrader("latin", nullptr).ok());
  EXPECT_FALSE(CheckGrader("latin", {{"symbols", {1, 2}}}).ok());
  EXPECT_FALSE(CheckGrader("shuffle", {{"items", {"a"}}}).ok());
  json empty_separator = Comma();
  empty_separator["sep"] = "";
  EXPECT_FALSE(CheckGrader("shuffle", empty_separator).ok());
}

TEST(Cases, ReadsPromptOrMessages) {
  const auto cases = ParseCases(
      "{\"task\": \"add\", \"prompt\": \"1+1\", \"answer\": \"2\"}\n\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
      "\"content\": \"b\"}, {\"role\": \"user\", \"content\": \"c\"}]}\n",
      "x.jsonl");
  ASSERT_TRUE(cases.ok()) << cases.status().message();
  ASSERT_EQ(cases->size(), 2u);
  EXPECT_EQ((*cases)[0].grader, "exact");
  EXPECT_EQ((*cases)[0].messages.at(0).content, "1+1");
  EXPECT_EQ((*cases)[1].grader, "none");
  EXPECT_EQ((*cases)[1].messages.size(), 3u);
}

TEST(Cases, ErrorsNameTheLine) {
  for (const char* bad : {"{\"prompt\": 3}", "[1]", "{", "{\"prompt\":\"a\",\"grader\":\"vibes\"}",
                          "{\"messages\": []}", "{\"prompt\":\"a\",\"answer\":1}"}) {
    const auto cases = ParseCases(std::string("{\"prompt\":\"ok\"}\n") + bad, "x.jsonl");
    ASSERT_FALSE(cases.ok()) << bad;
    EXPECT_TRUE(cases.status().message().starts_with("x.jsonl:2")) << cases.status().message();
  }
  EXPECT_FALSE(ParseCases("", "x.jsonl").ok());
}

TEST(Cases, SpreadKeepsEveryPartOfTheFile) {
  std::vector<Case> cases(10);
  for (size_t i = 0; i < cases.size(); ++i) cases[i].task = std::to_string(i);
  const auto chosen = Spread(cases, 4);
  ASSERT_EQ(chosen.size(), 4u);
  EXPECT_EQ(chosen[0].task + chosen[1].task + chosen[2].task + chosen[3].task, "0257");
  EXPECT_EQ(Spread(cases, 0).size(), 10u);
}

}  // namespace
}  // namespace tessera::eval
