// Which files a strategy text can make the library read.
#include <gtest/gtest.h>

#include <filesystem>

#include "tessera/api/model.h"

namespace tessera::api {
namespace {

namespace fs = std::filesystem;

TEST(StrategyFiles, AreTheModelsOwnWhereTextsAreNotTrusted) {
  const fs::path root(TESSERA_SOURCE_DIR);
  const fs::path filter = root / "models/tessera-diffusion-learn2pd/filter.safetensors";
  const fs::path folder = fs::path(testing::TempDir()) / "strategy_files_test";
  fs::remove_all(folder);
  fs::copy(root / "tests/golden/llada/model", folder);
  const std::string named = "learn2pd=" + filter.string();
  for (const bool allowed : {true, false}) {
    const auto model = Model::Load(folder.string(), {.strategy_files = allowed});
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ((*model)->CheckStrategy(named).ok(), allowed);
    EXPECT_FALSE((*model)->CheckStrategy("learn2pd").ok()) << "the folder has no filter";
    const std::string missing =
        std::string((*model)->CheckStrategy("learn2pd=/nowhere/f.safetensors").message());
    EXPECT_EQ(missing.find("may not name files") == std::string::npos, allowed) << missing;
    if (allowed) continue;
    // Whether a file exists cannot be told from the answer.
    EXPECT_EQ((*model)->CheckStrategy(named).message(), missing);
    const auto run = (*model)->Generate({.ids = {1, 2}, .strategy = named, .max_new_tokens = 4});
    EXPECT_EQ(run.status().message(), missing);
    fs::copy(filter, folder / "filter.safetensors");
    EXPECT_TRUE((*model)->CheckStrategy("learn2pd").ok());
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace tessera::api
