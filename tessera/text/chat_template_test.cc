#include "tessera/text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace tessera::text {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

fs::path Testdata() { return fs::path(TESSERA_SOURCE_DIR) / "tessera/text/testdata"; }
fs::path Shared() { return fs::path(TESSERA_SOURCE_DIR) / "../shared/data/tokenizers"; }

RenderOptions FixedClock() {
  RenderOptions options;
  std::tm day{};
  day.tm_year = 126, day.tm_mday = 2, day.tm_hour = 12, day.tm_isdst = -1;
  options.now = std::mktime(&day);
  return options;
}

Result<std::string> RenderSource(const std::string& source, const Json& context,
                                 RenderOptions options = FixedClock()) {
  auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->Render(context, options);
}

// Compares with jinja2's output; null stands for an error.
void ExpectGolden(const Result<std::string>& got, const Json& want, const std::string& what) {
  if (want.is_null()) {
    EXPECT_FALSE(got.ok()) << what << "\njinja2 refuses this, got: " << (got.ok() ? *got : "");
  } else {
    ASSERT_TRUE(got.ok()) << what << "\n" << got.status().message();
    EXPECT_EQ(*got, want.get<std::string>()) << what;
  }
}

TEST(ChatTemplate, SnippetsEqualJinja2) {
  const Json golden = Json::parse(ReadFile(Testdata() / "chat_golden.json"));
  ASSERT_GT(golden["snippets"].size(), 80u);
  for (const auto& snippet : golden["snippets"]) {
    const auto source = snippet[0].get<std::string>();
    ExpectGolden(RenderSource(source, golden["snippet_context"]), snippet[1], source);
  }
}

TEST(ChatTemplate, ModelTemplatesEqualTransformers) {
  if (!fs::exists(Shared())) GTEST_SKIP() << "no shared data at " << Shared();
  const Json golden = Json::parse(ReadFile(Testdata() / "chat_golden.json"));
  ASSERT_GT(golden["cases"].size(), 90u);
  for (const auto& entry : golden["cases"]) {
    const auto name = entry[0].get<std::string>();
    const fs::path path = Shared() / golden["files"][name].get<std::string>();
    std::string source = ReadFile(path);
    if (path.extension() == ".json") source = Json::parse(source)["chat_template"];
    Json context = golden["contexts"][entry[1].get<std::string>()];
    context["bos_token"] = "<s>";
    context["eos_token"] = "</s>";
    ExpectGolden(RenderSource(source, context), entry[2],
                 name + " with " + entry[1].get<std::string>());
  }
}

TEST(ChatTemplate, LoadsFromFolders) {
  const fs::path folder = fs::path(testing::TempDir()) / "chat_template_folder";
  fs::create_directories(folder);
  fs::remove(folder / "chat_template.jinja");
  EXPECT_EQ(LoadChatTemplate(folder / "absent").status().code(), StatusCode::kNotFound);
  std::ofstream(folder / "tokenizer_config.json")
      << R"({"bos_token": {"content": "<B>"}, "eos_token": "<E>", "chat_template": [
           {"name": "default", "template": "{{ bos_token }}d{{ eos_token }}"},
           {"name": "tool_use", "template": "t"}]})";
  auto loaded = LoadChatTemplate(folder);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(*loaded->Render(Json::object()), "<B>d<E>");
  EXPECT_EQ(*LoadChatTemplate(folder, "tool_use")->Render(Json::object()), "t");
  EXPECT_EQ(LoadChatTemplate(folder, "other").status().code(), StatusCode::kNotFound);
  std::ofstream(folder / "chat_template.jinja") << "file {{ bos_token }}\n";
  EXPECT_EQ(*LoadChatTemplate(folder)->Render(Json::object()), "file <B>");
  EXPECT_EQ(*LoadChatTemplate(folder)->Render(Json{{"bos_token", "x"}}), "file x");
  fs::remove_all(folder);
}

TEST(ChatTemplate, HostileTemplatesEndWithAnError) {
  const Json context = {{"s", std::string(1000, 'x')}};
  const auto refused = [&](const std::string& source) {
    const auto got = RenderSource(source, context);
    EXPECT_FALSE(got.ok()) << source.substr(0, 80);
    return got.status().message();
  };
  const std::string loops =
      "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
      "{% endfor %}{% endfor %}{% endfor %}";
  EXPECT_NE(refused(loops).find("steps"), std::string::npos);
  EXPECT_NE(refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").find("deeper"),
            std::string::npos);
  refused("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}");
  refused("{{ 'x' * 99999999999 }}");
  refused(
      "{% set ns = namespace(s='xx') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}"
      "{% endfor %}");
  refused(
      "{% set ns = namespace(s=[1]) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}"
      "{% endfor %}");
  refused(
      "{% set ns = namespace(s=1) %}{% for i in range(9999) %}{% set ns.s = [ns.s] %}"
      "{% endfor %}");
  refused("{{ range(10 ** 9) }}");
  refused("{{ " + std::string(100000, '(') + "1" + std::string(100000, ')') + " }}");
  refused("{{ " + std::string(100000, '[') + " }}");
  refused("{{ " + std::string(100000, '-') + "1 }}");
  std::string sum = "{{ 1";
  for (int i = 0; i < 100000; ++i) sum += "+1";
  refused(sum + " }}");
  std::string nested;
  for (int i = 0; i < 10000; ++i) nested += "{% if 1 %}";
  refused(nested);
  refused("{% for i in range(9999) %}{{ s * 1000 }}{% endfor %}");
  refused("{{ '\xff' }}");
  EXPECT_FALSE(RenderSource("x", Json::array()).ok());
  EXPECT_FALSE(RenderSource("x", Json{{"a", "\xff"}}).ok());
  Json deep = 1;
  for (int i = 0; i < 5000; ++i) deep = Json::array({std::move(deep)});
  EXPECT_FALSE(RenderSource("x", Json{{"a", std::move(deep)}}).ok());
}

TEST(ChatTemplate, NamespacesInCyclesAreFreed) {  // the leak checker sees the rest
  const auto got = RenderSource(
      "{% set a = namespace() %}{% set a.self = a %}{% set a.list = [a, {'k': a}] %}"
      "{% for x in [a] %}{{ loop.changed(loop) }}{% set a.loop = loop %}{% endfor %}ok",
      Json::object());
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(*got, "Trueok");
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_NE(ChatTemplate::Parse("a\n{% if %}").status().message().find("line 2"),
            std::string::npos);
  const auto got = RenderSource("a\n\n{{ x.y.z }}", Json::object());
  EXPECT_NE(got.status().message().find("line 3"), std::string::npos) << got.status().message();
  EXPECT_NE(got.status().message().find("'x' is undefined"), std::string::npos);
}

}  // namespace
}  // namespace tessera::text
