// Every real weight file of shared/data is read; sizes, shapes and a few values are checked against
// what an independent reader (NumPy) found.
#include <gtest/gtest.h>

#include <filesystem>

#include "tessera/formats/checkpoint.h"
#include "tessera/formats/json.h"
#include "tessera/formats/llama2c.h"
#include "tessera/formats/model_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::string Data(const std::string& path) {
  return std::string(TESSERA_SOURCE_DIR) + "/../shared/data/" + path;
}

#define SKIP_WITHOUT(path) \
  if (!fs::exists(path)) GTEST_SKIP() << "shared data file is absent: " << (path)

void ExpectAllFinite(const TensorSource& source) {
  for (const std::string& name : source.names()) {
    const TensorView* tensor = source.Find(name);
    ASSERT_NE(tensor, nullptr) << name;
    const Status status = CheckFinite(*tensor, name);
    EXPECT_TRUE(status.ok()) << status.message();
  }
}

TEST(RealFiles, LlamaC) {
  const struct {
    const char* path;
    int64_t dim, layers, vocab, tensors;
  } cases[] = {{"weights/stories260K/stories260K.bin", 64, 5, 512, 47},
               {"weights/stories260K/checkpoint_v1.bin", 64, 5, 512, 47},
               {"weights/llama2xs/model.bin", 64, 5, 512, 47},
               {"weights/babyllama-tok105/model5000.bin", 128, 5, 105, 47}};
  for (const auto& c : cases) {
    const std::string path = Data(c.path);
    SKIP_WITHOUT(path);
    auto model = OpenModelFiles(path);
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ(model->config["hidden_size"], c.dim);
    EXPECT_EQ(model->config["num_hidden_layers"], c.layers);
    EXPECT_EQ(model->config["vocab_size"], c.vocab);
    EXPECT_EQ(model->tensors->names().size(), static_cast<size_t>(c.tensors));
    EXPECT_TRUE(model->tensors->Get("model.embed_tokens.weight", {c.vocab, c.dim}).ok());
    ExpectAllFinite(*model->tensors);
  }
}

TEST(RealFiles, BothLlamaCHeadersHoldTheSameWeights) {
  const std::string legacy_path = Data("weights/stories260K/stories260K.bin");
  const std::string v1_path = Data("weights/stories260K/checkpoint_v1.bin");
  SKIP_WITHOUT(legacy_path);
  SKIP_WITHOUT(v1_path);
  auto legacy = Llama2cFile::Open(legacy_path);
  auto v1 = Llama2cFile::Open(v1_path);
  ASSERT_TRUE(legacy.ok() && v1.ok());
  ASSERT_EQ((*legacy)->names(), (*v1)->names());
  EXPECT_EQ((*legacy)->Config(), (*v1)->Config());
  for (const std::string& name : (*legacy)->names()) {
    const TensorView* a = (*legacy)->Find(name);
    const TensorView* b = (*v1)->Find(name);
    EXPECT_EQ(a->shape, b->shape);
    EXPECT_EQ(ToFloats(*a), ToFloats(*b)) << name;
  }
}

TEST(RealFiles, QuantisedLlamaCIsRefusedByName) {
  for (const char* file : {"stories260K-q8.bin", "NeuralOS-stories260K.q8", "tok512.bin"}) {
    const std::string path = Data(std::string("weights/stories260K/") + file);
    SKIP_WITHOUT(path);
    auto model = Llama2cFile::Open(path);
    ASSERT_FALSE(model.ok()) << file;
    EXPECT_NE(model.status().message().find(file), std::string::npos) << model.status().message();
  }
}

TEST(RealFiles, HuggingFaceFolder) {
  const std::string folder = Data("weights/hf-llama-arith");
  SKIP_WITHOUT(folder);
  auto model = OpenModelFiles(folder);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->config["model_type"], "llama");
  EXPECT_GT(model->tensors->total_bytes(), 1'500'000);
  ExpectAllFinite(*model->tensors);
}

TEST(RealFiles, EveryConfigAndIndexParses) {
  const std::string root = Data("tokenizers");
  SKIP_WITHOUT(root);
  int indices = 0, others = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const std::string path = entry.path().string();
    if (path.ends_with(".index.json")) {
      auto file = MappedFile::Open(path);
      ASSERT_TRUE(file.ok());
      auto index = ParseCheckpointIndex((*file)->text(), path);
      EXPECT_TRUE(index.ok()) << index.status().message();
      ++indices;
    } else if (path.ends_with(".json")) {
      auto json = ReadJsonFile(path);
      EXPECT_TRUE(json.ok()) << json.status().message();
      auto ordered = ReadOrderedJsonFile(path);
      ASSERT_TRUE(ordered.ok()) << ordered.status().message();
      EXPECT_EQ(nlohmann::json::parse(ordered->dump()), *json);
      ++others;
    }
  }
  EXPECT_GE(indices, 4);
  EXPECT_GE(others, 20);
}

}  // namespace
}  // namespace tessera
