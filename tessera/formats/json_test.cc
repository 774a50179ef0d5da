#include "tessera/formats/json.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tessera/formats/test_util.h"

namespace tessera {
namespace {

std::string Repeat(std::string_view text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

TEST(Json, AgreesWithTheLibrarysOwnParser) {
  const char* text =
      R"({"a":[1,-2,3.5,true,null,"x\u00e9",[],{}],"b":{"c":{"d":18446744073709551615}},
                         "":0,"long":")"
      "\xf0\x9f\x98\x80"
      R"("})";
  auto json = ParseJson(text, "t.json");
  ASSERT_TRUE(json.ok()) << json.status().message();
  EXPECT_EQ(*json, nlohmann::json::parse(text));
  auto ordered = ParseOrderedJson(text, "t.json");
  ASSERT_TRUE(ordered.ok());
  EXPECT_EQ(*ordered, nlohmann::ordered_json::parse(text));
  EXPECT_EQ(ordered->begin().key(), "a");
  for (const char* scalar : {"1", "\"s\"", "null", " true ", "[]"}) {
    EXPECT_EQ(*ParseJson(scalar, "t"), nlohmann::json::parse(scalar));
  }
}

TEST(Json, ErrorsNameFileAndByte) {
  ExpectError(ParseJson("", "c.json").status(), StatusCode::kDataLoss, {"c.json", "byte"});
  ExpectError(ParseJson("{\"a\":1,}", "c.json").status(), StatusCode::kDataLoss,
              {"c.json", "byte 8", "line 1, column 8"});
  ExpectError(ParseJson("{\"a\":1} x", "c.json").status(), StatusCode::kDataLoss,
              {"c.json", "byte 9"});
  ExpectError(ParseJson("\"\xff\"", "c.json").status(), StatusCode::kDataLoss, {"UTF-8"});
  ExpectError(ParseJson("\"\\ud800\"", "c.json").status(), StatusCode::kDataLoss, {"byte 8"});
  ExpectError(ParseJson("1e999", "c.json").status(), StatusCode::kDataLoss,
              {"c.json: byte 5", "overflow"});
  ExpectError(ParseJson("NaN", "c.json").status(), StatusCode::kDataLoss, {"c.json"});
  ExpectError(ParseJson("[\x1b]", "c\n.json").status(), StatusCode::kDataLoss, {"c\\x0a.json"});
  // The message repeats what was last read; it must stay short.
  const Status huge = ParseJson("\"" + std::string(1 << 20, 'a'), "c.json").status();
  EXPECT_LT(huge.message().size(), 400u);
}

TEST(Json, DepthIsLimitedWhileParsing) {
  const JsonLimits limits{.max_depth = 64};
  EXPECT_TRUE(ParseJson(Repeat("[", 64) + Repeat("]", 64), "d", limits).ok());
  ExpectError(ParseJson(Repeat("[", 65) + Repeat("]", 65), "d", limits).status(),
              StatusCode::kDataLoss, {"d: byte 65", "64"});
  // Ten million brackets never close: stopped at the 65th, not at the end of the text.
  ExpectError(ParseJson(std::string(10'000'000, '['), "d").status(), StatusCode::kDataLoss,
              {"byte 65"});
  ExpectError(ParseJson(Repeat("{\"a\":", 1'000'000), "d").status(), StatusCode::kDataLoss, {"64"});
  ExpectError(ParseOrderedJson(Repeat("{\"a\":", 1'000'000), "d").status(), StatusCode::kDataLoss,
              {"64"});
}

TEST(Json, SizeAndValuesAreLimited) {
  ExpectError(ParseJson("[1,2,3,4]", "v", {.max_bytes = 8}).status(),
              StatusCode::kResourceExhausted, {"v", "9 bytes", "8"});
  EXPECT_TRUE(ParseJson("[1,2,3]", "v", {.max_values = 4}).ok());
  ExpectError(ParseJson("[1,2,3,4]", "v", {.max_values = 4}).status(), StatusCode::kDataLoss,
              {"v", "more than 4"});
}

TEST(Json, DuplicateKeys) {
  const JsonLimits refuse{.duplicate_keys = DuplicateKeys::kRefuse};
  const char* text = R"({"a":{"x":1},"b":2,"a":3})";
  EXPECT_EQ(ParseJson(text, "f")->at("a"), 3) << "the last one wins, as in Python";
  ExpectError(ParseJson(text, "f", refuse).status(), StatusCode::kDataLoss, {"f: byte", "'a'"});
  EXPECT_TRUE(ParseJson(R"({"a":{"a":1},"b":{"a":1}})", "f", refuse).ok());
  auto ordered = ParseOrderedJson(text, "f");
  ASSERT_TRUE(ordered.ok());
  EXPECT_EQ(ordered->dump(), R"({"a":3,"b":2})");
  ExpectError(ParseOrderedJson(text, "f", refuse).status(), StatusCode::kDataLoss, {"'a'"});
}

TEST(Json, LargeOrderedObjectsAreIndexed) {
  std::string text = "{";
  constexpr int kKeys = 200'000;
  for (int i = 0; i < kKeys; ++i)
    text += "\"k" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  text += "\"k12345\":-1,\"k3\":-2}";
  const auto start = std::chrono::steady_clock::now();
  auto ordered = ParseOrderedJson(text, "vocab.json");
  ASSERT_TRUE(ordered.ok()) << ordered.status().message();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << "quadratic?";
  ASSERT_EQ(ordered->size(), static_cast<size_t>(kKeys));
  const auto& items = ordered->get_ref<const nlohmann::ordered_json::object_t&>();
  EXPECT_EQ(items.data()[3].second, -2);
  EXPECT_EQ(items.data()[12345].second, -1);
  EXPECT_EQ(items.back().first, "k199999");
  ExpectError(ParseOrderedJson(text, "v", {.duplicate_keys = DuplicateKeys::kRefuse}).status(),
              StatusCode::kDataLoss, {"'k12345'"});
}

TEST(Json, ReadsFiles) {
  TempFolder folder;
  EXPECT_EQ(ReadJsonFile(folder.Write("a.json", "{\"x\":1}"))->at("x"), 1);
  EXPECT_EQ(ReadOrderedJsonFile(folder / "a.json")->at("x"), 1);
  ExpectError(ReadJsonFile(folder / "b.json").status(), StatusCode::kNotFound, {"b.json"});
  ExpectError(ReadJsonFile(folder.Write("c.json", "{")).status(), StatusCode::kDataLoss,
              {"c.json", "byte"});
  ExpectError(ReadJsonFile(folder.Write("d.json", "[1]"), {.max_bytes = 2}).status(),
              StatusCode::kResourceExhausted, {"d.json"});
}

class JsonObjectTest : public ::testing::Test {
 protected:
  JsonObjectTest()
      : json_(nlohmann::json::parse(R"({
          "int": 7, "neg": -1, "big": 9223372036854775808, "float": 1.5, "zero": 0,
          "bool": true, "text": "abc", "null": null, "list": [1, 2], "mixed": [1, "x"],
          "names": ["a", "b"], "inner": {"factor": 8.0, "deep": {"x": "y"}}})")),
        object_(*JsonObject::Of(json_, "config.json")) {}
  nlohmann::json json_;
  JsonObject object_;
};

TEST_F(JsonObjectTest, ReadsFields) {
  EXPECT_EQ(*object_.GetInt("int", {1, 7}), 7);
  EXPECT_EQ(*object_.GetIntOr("absent", 5), 5);
  EXPECT_EQ(*object_.GetIntOr("null", 5), 5);
  EXPECT_EQ(*object_.GetFloat("float"), 1.5);
  EXPECT_EQ(*object_.GetFloat("int"), 7.0) << "an integer is a number";
  EXPECT_EQ(*object_.GetFloatOr("absent", 2.5), 2.5);
  EXPECT_TRUE(*object_.GetBool("bool"));
  EXPECT_FALSE(*object_.GetBoolOr("absent", false));
  EXPECT_EQ(*object_.GetString("text"), "abc");
  EXPECT_EQ(*object_.GetStringOr("null", "d"), "d");
  EXPECT_EQ(*object_.GetInts("int"), (std::vector<int64_t>{7}));
  EXPECT_EQ(*object_.GetInts("list"), (std::vector<int64_t>{1, 2}));
  EXPECT_TRUE(object_.GetInts("absent")->empty());
  EXPECT_EQ(*object_.GetStrings("text"), (std::vector<std::string>{"abc"}));
  EXPECT_EQ(*object_.GetStrings("names"), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(object_.Has("zero"));
  EXPECT_FALSE(object_.Has("null"));
  auto inner = object_.GetObject("inner");
  ASSERT_TRUE(inner.ok());
  EXPECT_EQ(*inner->GetFloat("factor"), 8.0);
}

TEST_F(JsonObjectTest, ErrorsSayFileFieldGotAccepted) {
  constexpr auto kData = StatusCode::kDataLoss;
  ExpectError(object_.GetInt("absent").status(), kData, {"config.json", "'absent'", "missing"});
  ExpectError(object_.GetInt("null").status(), kData, {"config.json", "'null'", "is null"});
  ExpectError(object_.GetInt("neg", {.min = 1}).status(), kData,
              {"config.json", "'neg'", "is -1", "an integer of at least 1"});
  ExpectError(object_.GetInt("int", {.min = 8, .max = 9}).status(), kData, {"is 7", "from 8 to 9"});
  ExpectError(object_.GetInt("big").status(), kData, {"'big'", "9223372036854775808"});
  ExpectError(object_.GetInt("float").status(), kData, {"'float'", "1.5", "an integer"});
  ExpectError(object_.GetIntOr("text", 1).status(), kData, {"'text'", "\"abc\""});
  ExpectError(object_.GetFloat("text").status(), kData, {"'text'", "a number"});
  ExpectError(object_.GetFloat("zero", {.min = 1e-9}).status(), kData, {"'zero'", "is 0"});
  ExpectError(object_.GetBool("int").status(), kData, {"'int'", "true or false"});
  ExpectError(object_.GetString("list").status(), kData, {"'list'", "array of 2 items"});
  ExpectError(object_.GetInts("mixed").status(), kData, {"'mixed[1]'", "\"x\""});
  ExpectError(object_.GetInts("text").status(), kData, {"'text'", "list"});
  ExpectError(object_.GetStrings("list").status(), kData, {"'list[0]'", "a string"});
  ExpectError(object_.GetObject("int").status(), kData, {"'int'", "an object"});
  ExpectError(JsonObject::Of(json_["list"], "x.json").status(), kData, {"x.json", "an object"});
  auto deep = object_.GetObject("inner")->GetObject("deep");
  ASSERT_TRUE(deep.ok());
  ExpectError(deep->GetInt("x").status(), kData, {"config.json", "'inner.deep.x'", "\"y\""});
}

}  // namespace
}  // namespace tessera
