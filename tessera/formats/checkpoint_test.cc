#include "tessera/formats/checkpoint.h"

#include <gtest/gtest.h>

#include "tessera/formats/model_files.h"
#include "tessera/formats/test_util.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr auto kData = StatusCode::kDataLoss;
constexpr auto kInvalid = StatusCode::kInvalidArgument;

// A safetensors file with one F32 value under each name.
std::string Shard(std::initializer_list<std::string_view> names) {
  std::string header = "{";
  size_t at = 0;
  for (const std::string_view name : names) {
    header += fmt::format(R"({}"{}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}})",
                          at == 0 ? "" : ",", name, at, at + 4);
    at += 4;
  }
  return SafetensorsBytes(header + "}", at);
}

std::string Index(std::string_view weight_map) {
  return fmt::format(R"({{"metadata":{{"total_size":8}},"weight_map":{}}})", weight_map);
}

constexpr std::string_view kIndexName = "model.safetensors.index.json";

TEST(Checkpoint, OneFile) {
  TempFolder folder;
  folder.Write("model.safetensors", Shard({"a", "b"}));
  folder.Write("other.safetensors", "not read: model.safetensors goes first");
  auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ((*checkpoint)->names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ((*checkpoint)->total_bytes(), 8);
  EXPECT_TRUE((*checkpoint)->GetFinite("a", {1}).ok());
  ExpectError((*checkpoint)->Get("c").status(), StatusCode::kNotFound, {folder.path(), "'c'"});
  ExpectError((*checkpoint)->Get("a", {2}).status(), kData, {folder.path(), "'a'", "[1]", "[2]"});
}

TEST(Checkpoint, OneOtherFile) {
  TempFolder folder;
  folder.Write("weights.safetensors", Shard({"a"}));
  EXPECT_TRUE(Checkpoint::Open(folder.path()).ok());
  folder.Write("more.safetensors", Shard({"b"}));
  ExpectError(Checkpoint::Open(folder.path()).status(), kInvalid,
              {folder.path(), "2 .safetensors files"});
}

TEST(Checkpoint, Shards) {
  TempFolder folder;
  folder.Write("s1.safetensors", Shard({"a"}));
  folder.Write("s2.safetensors", Shard({"b", "unlisted"}));
  folder.Write(kIndexName, Index(R"({"a":"s1.safetensors","b":"s2.safetensors"})"));
  auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ((*checkpoint)->names(), (std::vector<std::string>{"a", "b", "unlisted"}));
  EXPECT_EQ((*checkpoint)->files().size(), 2u);
  EXPECT_EQ((*checkpoint)->total_bytes(), 12);
  ASSERT_NE((*checkpoint)->Find("b"), nullptr);
  (*checkpoint)->Advise("b", MapAdvice::kDontNeed);
  EXPECT_TRUE((*checkpoint)->GetFinite("b", {1}).ok());
  EXPECT_TRUE((*checkpoint)->FileOf("b")->origin().ends_with("s2.safetensors"));
}

TEST(Checkpoint, UnsupportedDTypeNamesItsShard) {
  TempFolder folder;
  folder.Write("s1.safetensors",
               SafetensorsBytes(R"({"q":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}})", 2));
  folder.Write(kIndexName, Index(R"({"q":"s1.safetensors"})"));
  auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  ExpectError((*checkpoint)->Get("q").status(), StatusCode::kUnimplemented,
              {"s1.safetensors", "'q'", "'I8'"});
}

TEST(Checkpoint, RefusesFoldersWithoutWeights) {
  TempFolder folder;
  ExpectError(Checkpoint::Open(folder / "absent").status(), StatusCode::kNotFound, {"absent"});
  ExpectError(Checkpoint::Open(folder.Write("file", "x")).status(), kInvalid, {"file", "folder"});
  ExpectError(Checkpoint::Open(folder.path()).status(), StatusCode::kNotFound,
              {folder.path(), "model.safetensors"});
  folder.Write("pytorch_model.bin", "pickle");
  ExpectError(Checkpoint::Open(folder.path()).status(), StatusCode::kNotFound, {"pickled"});
}

TEST(Checkpoint, DirectoryNamedModelSafetensors) {
  TempFolder folder;
  fs::create_directory(folder / "model.safetensors");
  ExpectError(Checkpoint::Open(folder.path()).status(), kInvalid,
              {"model.safetensors", "directory"});
}

TEST(Checkpoint, DirectoryNamedLikeAnIndexOrShard) {
  TempFolder folder;
  fs::create_directory(folder / "s1.safetensors");
  folder.Write(kIndexName, Index(R"({"a":"s1.safetensors"})"));
  ExpectError(Checkpoint::Open(folder.path()).status(), kInvalid, {"s1.safetensors", "directory"});
  fs::remove(folder / kIndexName);
  fs::create_directory(folder / kIndexName);
  ExpectError(Checkpoint::Open(folder.path()).status(), kInvalid, {kIndexName, "directory"});
}

TEST(Checkpoint, RefusesIndexEntriesThatLeaveTheFolder) {
  TempFolder outer;
  outer.Write("outside.safetensors", Shard({"a"}));
  const std::string folder = outer / "model";
  fs::create_directory(folder);
  for (const std::string entry :
       {"../outside.safetensors", "..", ".", "", "/etc/passwd", "sub/x.safetensors",
        "..\\\\outside.safetensors", "x\\u0000.safetensors", "config.json", ".safetensors/.."}) {
    SCOPED_TRACE(entry);
    outer.Write("model/model.safetensors.index.json", Index(R"({"a":")" + entry + "\"}"));
    ExpectError(Checkpoint::Open(folder).status(), kInvalid,
                {"index.json", "'a'", "plain *.safetensors file name"});
  }
}

TEST(Checkpoint, SymbolicLinks) {
  TempFolder outer;
  outer.Write("outside.safetensors", Shard({"a"}));
  const std::string folder = outer / "model";
  fs::create_directory(folder);
  outer.Write("model/model.safetensors.index.json", Index(R"({"a":"s.safetensors"})"));
  fs::create_symlink("../outside.safetensors", folder + "/s.safetensors");
  ExpectError(Checkpoint::Open(folder).status(), kInvalid,
              {"index.json", "'s.safetensors'", "symbolic link out of the folder"});
  // A sibling whose name merely begins like the folder's is outside too.
  fs::create_directory(outer / "model2");
  outer.Write("model2/s.safetensors", Shard({"a"}));
  fs::remove(folder + "/s.safetensors");
  fs::create_symlink("../model2/s.safetensors", folder + "/s.safetensors");
  ExpectError(Checkpoint::Open(folder).status(), kInvalid, {"symbolic link"});
  // Inside the folder is fine, and so is a link to the folder itself.
  outer.Write("model/real.data", Shard({"a"}));
  fs::remove(folder + "/s.safetensors");
  fs::create_symlink("real.data", folder + "/s.safetensors");
  fs::create_directory_symlink("model", outer / "alias");
  for (const std::string name : {"model", "alias"}) {
    auto checkpoint = Checkpoint::Open(outer / name);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  }
  // Links in a circle.
  fs::remove(folder + "/s.safetensors");
  fs::create_symlink("s.safetensors", folder + "/s.safetensors");
  ExpectError(Checkpoint::Open(folder).status(), StatusCode::kNotFound, {"'s.safetensors'"});
}

TEST(Checkpoint, HuggingFaceCacheLayout) {
  TempFolder hub;
  const std::string repo = hub / "models--org--name";
  fs::create_directories(repo + "/snapshots/abc");
  fs::create_directories(repo + "/blobs");
  hub.Write("models--org--name/blobs/1234", Shard({"a"}));
  hub.Write("models--org--name/snapshots/abc/model.safetensors.index.json",
            Index(R"({"a":"s.safetensors"})"));
  fs::create_symlink("../../blobs/1234", repo + "/snapshots/abc/s.safetensors");
  auto checkpoint = Checkpoint::Open(repo + "/snapshots/abc");
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  hub.Write("secret", Shard({"a"}));
  fs::remove(repo + "/snapshots/abc/s.safetensors");
  fs::create_symlink("../../../secret", repo + "/snapshots/abc/s.safetensors");
  ExpectError(Checkpoint::Open(repo + "/snapshots/abc").status(), kInvalid, {"symbolic link"});
}

TEST(Checkpoint, IndexAndShardsMustAgree) {
  TempFolder folder;
  folder.Write("s1.safetensors", Shard({"a"}));
  folder.Write("s2.safetensors", Shard({"b"}));
  folder.Write(kIndexName, Index(R"({"a":"s1.safetensors","b":"s3.safetensors"})"));
  ExpectError(Checkpoint::Open(folder.path()).status(), StatusCode::kNotFound,
              {kIndexName, "'s3.safetensors'", "missing"});
  folder.Write(kIndexName, Index(R"({"a":"s1.safetensors","c":"s2.safetensors"})"));
  ExpectError(Checkpoint::Open(folder.path()).status(), kData,
              {kIndexName, "'c'", "'s2.safetensors'", "does not hold it"});
  folder.Write(kIndexName, Index(R"({"a":"s2.safetensors","b":"s1.safetensors"})"));
  ExpectError(Checkpoint::Open(folder.path()).status(), kData, {kIndexName, "'a'"});
  folder.Write("s2.safetensors", Shard({"b", "a"}));
  folder.Write(kIndexName, Index(R"({"a":"s1.safetensors","b":"s2.safetensors"})"));
  ExpectError(Checkpoint::Open(folder.path()).status(), kData,
              {"s2.safetensors", "'a'", "also in", "s1.safetensors"});
  folder.Write("s2.safetensors", "short");
  ExpectError(Checkpoint::Open(folder.path()).status(), kData, {"s2.safetensors", "truncated"});
}

TEST(Checkpoint, RefusesBadIndices) {
  const auto error = [](std::string_view text) {
    return ParseCheckpointIndex(text, "x.index.json").status();
  };
  ExpectError(error(""), kData, {"x.index.json", "byte"});
  ExpectError(error("[]"), kData, {"x.index.json", "object"});
  ExpectError(error("{}"), kData, {"x.index.json", "'weight_map'", "missing"});
  ExpectError(error(Index("[]")), kData, {"x.index.json", "'weight_map'"});
  ExpectError(error(Index("{}")), kData, {"x.index.json", "'weight_map'", "empty"});
  ExpectError(error(Index(R"({"a":1})")), kData, {"x.index.json", "'weight_map'", "'a'"});
  ExpectError(error(Index(R"({"a":"s.safetensors","a":"t.safetensors"})")), kData,
              {"x.index.json", "'a'", "twice"});
}

TEST(Checkpoint, NaNNamesFolderAndTensor) {
  TempFolder folder;
  std::string bytes = Shard({"a", "model.norm.weight"});
  std::fill(bytes.end() - 4, bytes.end(), '\xff');
  folder.Write("model.safetensors", bytes);
  auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_TRUE((*checkpoint)->GetFinite("a", {1}).ok());
  ExpectError((*checkpoint)->GetFinite("model.norm.weight", {1}).status(), kData,
              {folder.path(), "'model.norm.weight'", "NaN"});
}

TEST(ModelFiles, Folder) {
  TempFolder folder;
  folder.Write("model.safetensors", Shard({"a"}));
  ExpectError(OpenModelFiles(folder.path()).status(), StatusCode::kNotFound, {"config.json"});
  folder.Write("config.json", "[]");
  ExpectError(OpenModelFiles(folder.path()).status(), kData, {"config.json", "object"});
  folder.Write("config.json", R"({"model_type":"llama"})");
  auto model = OpenModelFiles(folder.path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->config["model_type"], "llama");
  EXPECT_EQ(model->folder, folder.path());
  EXPECT_TRUE(model->tensors->Get("a", {1}).ok());
}

TEST(ModelFiles, RefusesOtherPaths) {
  TempFolder folder;
  ExpectError(OpenModelFiles(folder / "absent").status(), StatusCode::kNotFound, {"absent"});
  ExpectError(OpenModelFiles(folder.Write("notes.txt", "x")).status(), kInvalid, {"notes.txt"});
  ExpectError(OpenModelFiles(folder.Write("x.bin", "x")).status(), kData, {"x.bin", "truncated"});
}

}  // namespace
}  // namespace tessera
