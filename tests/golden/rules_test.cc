// Traces of plain loops, one per method (tools/golden/rules.py), reproduced change by change.
#include "tessera/decode/registry.h"
#include "tessera/engine/engine.h"
#include "tessera/formats/safetensors.h"
#include "tests/golden/golden.h"

namespace tessera::golden {
namespace {

using nlohmann::json;

// What a forward changed: the new token, or the mask where one was taken back.
using Changes = std::map<int32_t, int32_t>;

class Rules : public ::testing::TestWithParam<std::string> {};

TEST_P(Rules, PlainLoops) {
  const Loaded loaded = Load(GetParam(), ops::WeightType::kF32);
  const auto joint = SafetensorsFile::Open(Folder(GetParam()) + "/joint.safetensors");
  ASSERT_TRUE(joint.ok()) << joint.status().message();
  const Status joined = loaded.model->LoadJointLayer(**joint);
  ASSERT_TRUE(joined.ok()) << joined.message();
  const ops::ModelTraits traits = loaded.model->traits();
  const Result<json> records = ReadJsonFile(Folder(GetParam()) + "/rules.json");
  ASSERT_TRUE(records.ok()) << records.status().message();
  ASSERT_FALSE(records->empty());
  for (const json& record : *records) {
    const std::string text = record["strategy"];
    SCOPED_TRACE(text);
    auto strategy = decode::MakeStrategy(text, traits, {});
    ASSERT_TRUE(strategy.ok()) << strategy.status().message();
    engine::Engine engine(*loaded.model, *loaded.device, {});
    engine::Request request{.prompt = record["prompt"].get<std::vector<int32_t>>(),
                            .max_new_tokens = record["new_tokens"],
                            .seed = 0,
                            .strategy = std::move(*strategy),
                            .stop_ids = {},
                            .on_step = {}};
    std::vector<Changes> changes;
    request.on_step = [&](const engine::StepEvent& event) {
      changes.emplace_back();
      for (const decode::Placement& commit : event.commits) {
        changes.back()[commit.position] = commit.token;
      }
      for (const decode::Placement& edit : event.edits) changes.back()[edit.position] = edit.token;
      for (const int32_t position : event.remasks) changes.back()[position] = traits.mask_id;
      return true;
    };
    const engine::Completion completion = engine.Run(std::move(request));
    ASSERT_TRUE(completion.status.ok()) << completion.status.message();
    EXPECT_EQ(completion.canvas, record["ids"].get<std::vector<int32_t>>());
    ASSERT_EQ(changes.size(), record["changes"].size());
    for (size_t i = 0; i < changes.size(); ++i) {
      Changes expected;
      for (const json& change : record["changes"][i]) expected[change[0]] = change[1];
      EXPECT_EQ(changes[i], expected) << "forward " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, Rules, ::testing::Values("llada", "llada_gqa_tied"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace tessera::golden
