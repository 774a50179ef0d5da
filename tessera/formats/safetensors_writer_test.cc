#include "tessera/formats/safetensors_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "tessera/base/rng.h"
#include "tessera/formats/checkpoint.h"
#include "tessera/formats/json.h"
#include "tessera/formats/test_util.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr auto kInvalid = StatusCode::kInvalidArgument;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string RandomBytes(size_t count, uint64_t seed) {
  std::string bytes(count, '\0');
  for (uint32_t i = 0; i < count; ++i) {
    bytes[i] = static_cast<char>(RandomWords({.seed = seed}, RngPurpose::kTest, i)[0]);
  }
  return bytes;
}

const std::vector<TensorSpec> kTensors = {
    {"ids", DType::kI64, {2}},      {"w", DType::kF32, {2, 3}},  {"scalar", DType::kF32, {}},
    {"empty", DType::kF32, {0, 7}}, {"h", DType::kF16, {3}},     {"b", DType::kBF16, {1, 2, 2}},
    {"u", DType::kU8, {3}},         {"flag", DType::kBool, {2}},
};
constexpr size_t kDataBytes = 16 + 24 + 4 + 0 + 6 + 8 + 3 + 2;

// Appends in pieces that respect no tensor border.
Status WriteIn(SafetensorsWriter& writer, std::string_view data, size_t piece) {
  for (; !data.empty(); data.remove_prefix(std::min(piece, data.size()))) {
    TESSERA_RETURN_IF_ERROR(writer.Append(AsBytes(data.substr(0, piece))));
  }
  return writer.Finish();
}

TEST(SafetensorsWriter, RoundTrip) {
  TempFolder folder;
  const std::string data = RandomBytes(kDataBytes, 1);
  for (const size_t piece : {size_t{1}, size_t{7}, kDataBytes}) {
    const std::string path = folder / "m.safetensors";
    auto writer =
        SafetensorsWriter::Create(path, kTensors, {{"format", "pt"}, {"n\xc3\xa9", "\n"}});
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    const Status status = WriteIn(**writer, data, piece);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(folder.Entries(), 1u) << "no temporary file is left";
    auto file = SafetensorsFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ((*file)->metadata().at("n\xc3\xa9"), "\n");
    size_t at = 0;
    for (const TensorSpec& spec : kTensors) {
      const TensorView* tensor = (*file)->Find(spec.name);
      ASSERT_NE(tensor, nullptr);
      EXPECT_EQ(tensor->dtype, spec.dtype);
      EXPECT_EQ(tensor->shape, spec.shape);
      const size_t size = static_cast<size_t>(tensor->bytes());
      EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(tensor->data), size),
                data.substr(at, size))
          << spec.name;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->data) % SizeOf(spec.dtype), 0u);
      if (at == 0) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->data) % 64, 0u);
      }
      at += size;
    }
  }
}

// A Python with the safetensors package, or "". TESSERA_PYTHON names another one.
std::string Python() {
  const char* chosen = std::getenv("TESSERA_PYTHON");
  const std::string root = TESSERA_SOURCE_DIR;
  for (const std::string& python :
       {std::string(chosen ? chosen : ""), root + "/../venv/bin/python", std::string("python3")}) {
    if (python.empty()) continue;
    const std::string probe = python + " -c 'import safetensors.numpy' >/dev/null 2>&1";
    if (std::system(probe.c_str()) == 0) return python;
  }
  return "";
}

TEST(SafetensorsWriter, PythonReadsWhatWeWriteAndWeReadWhatPythonWrites) {
  const std::string python = Python();
  if (python.empty()) GTEST_SKIP() << "no Python with the safetensors package";
  TempFolder folder;
  std::string data = RandomBytes(kDataBytes, 2);
  data[kDataBytes - 1] = data[kDataBytes - 2] = 1;  // valid bools
  auto writer = SafetensorsWriter::Create(folder / "ours.safetensors", kTensors, {{"k", "v"}});
  ASSERT_TRUE(writer.ok() && WriteIn(**writer, data, 10).ok());
  folder.Write("raw", data);
  // bf16 has no NumPy type: deserialize() hands out raw bytes of every tensor.
  folder.Write("check.py", R"(
import sys, safetensors, safetensors.numpy, numpy as np
folder = sys.argv[1]
raw = open(folder + "/raw", "rb").read()
read = dict(safetensors.deserialize(open(folder + "/ours.safetensors", "rb").read()))
order = ["ids", "w", "scalar", "empty", "h", "b", "u", "flag"]
assert sorted(read) == sorted(order), read
assert b"".join(bytes(read[n]["data"]) for n in order) == raw
assert [read[n]["shape"] for n in order] == [[2], [2, 3], [], [0, 7], [3], [1, 2, 2], [3], [2]]
assert [read[n]["dtype"] for n in order] == "I64 F32 F32 F32 F16 BF16 U8 BOOL".split()
with safetensors.safe_open(folder + "/ours.safetensors", "np") as file:
    assert file.metadata() == {"k": "v"}
    assert file.get_tensor("w").tobytes() == raw[16:40]
rng = np.random.default_rng(0)
safetensors.numpy.save_file({
    "f32": np.arange(6, dtype=np.float32).reshape(2, 3), "f16": np.array([6e-8, 65504], np.float16),
    "u8": np.array([1, 2, 3], np.uint8), "i64": np.array([-1], np.int64), "i8": np.array([1], np.int8),
    "empty": np.zeros((0, 4), np.float32), "flag": np.array([True])},
    folder + "/theirs.safetensors", metadata={"who": "python"})
)");
  const std::string command = python + " " + (folder / "check.py") + " " + folder.path();
  ASSERT_EQ(std::system(command.c_str()), 0);
  auto theirs = SafetensorsFile::Open(folder / "theirs.safetensors");
  ASSERT_TRUE(theirs.ok()) << theirs.status().message();
  EXPECT_EQ((*theirs)->metadata().at("who"), "python");
  EXPECT_EQ(ToFloats(*(*theirs)->Get("f32", {2, 3})), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(ToFloats(*(*theirs)->Get("f16", {2})), (std::vector<float>{0x1p-24f, 65504}));
  EXPECT_TRUE((*theirs)->Get("empty", {0, 4}).ok());
  EXPECT_EQ((*theirs)->StoredDType("i8"), "I8");
}

TEST(SafetensorsWriter, RefusesDeclarations) {
  TempFolder folder;
  const std::string path = folder / "m.safetensors";
  const auto error = [&](const std::vector<TensorSpec>& tensors) {
    return SafetensorsWriter::Create(path, tensors).status();
  };
  ExpectError(error({{"a", DType::kF32, {-1}}}), kInvalid, {"m.safetensors", "'a'", "negative"});
  ExpectError(error({{"a", DType::kF32, {int64_t{1} << 40, int64_t{1} << 40}}}), kInvalid,
              {"m.safetensors", "'a'", "overflows"});
  ExpectError(error({{"a", DType::kU8, {INT64_MAX}}, {"b", DType::kU8, {1}}}), kInvalid,
              {"m.safetensors", "'b'", "overflows"});
  ExpectError(error({{"a", DType::kU8, {INT64_MAX}}}), kInvalid, {"m.safetensors", "overflows"});
  ExpectError(error({{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}}), kInvalid,
              {"m.safetensors", "'a'", "twice"});
  ExpectError(error({{"__metadata__", DType::kF32, {1}}}), kInvalid, {"reserved"});
  ExpectError(error({{"\xff", DType::kF32, {1}}}), kInvalid, {"'\\xff'", "UTF-8"});
  ExpectError(error({{"a", DType::kU8, {1}}, {"b", DType::kF32, {1}}}), kInvalid,
              {"m.safetensors", "'b'", "aligned"});
  ExpectError(error({{"a", DType::kU8, Shape(17, 1)}}), kInvalid, {"'a'", "dimensions"});
  ExpectError(SafetensorsWriter::Create(path, {}, {{"k", "\xff"}}).status(), kInvalid, {"'k'"});
  EXPECT_EQ(folder.Entries(), 0u);
}

TEST(SafetensorsWriter, NothingIsLeftBehind) {
  TempFolder folder;
  const std::string path = folder.Write("m.safetensors", "old");
  {
    auto writer = SafetensorsWriter::Create(path, kTensors);
    ASSERT_TRUE(writer.ok());
    EXPECT_EQ(folder.Entries(), 2u);
    ASSERT_TRUE((*writer)->Append(AsBytes("abc")).ok());
    EXPECT_EQ(ReadAll(path), "old");
  }  // destroyed before Finish
  EXPECT_EQ(folder.Entries(), 1u);
  EXPECT_EQ(ReadAll(path), "old");
  {
    auto writer = SafetensorsWriter::Create(path, kTensors);
    ASSERT_TRUE(writer.ok());
    ExpectError((*writer)->Finish(), kInvalid, {"m.safetensors", "announced"});
    EXPECT_EQ(folder.Entries(), 1u) << "removed by the error, not only by destruction";
    ExpectError((*writer)->Append(AsBytes("a")), kInvalid, {"no longer open"});
  }
  {
    auto writer = SafetensorsWriter::Create(path, kTensors);
    ASSERT_TRUE(writer.ok());
    const std::string data(kDataBytes + 1, 'x');
    ExpectError((*writer)->Append(AsBytes(data)), kInvalid, {"m.safetensors", "announced"});
    EXPECT_EQ(folder.Entries(), 1u);
  }
  EXPECT_EQ(ReadAll(path), "old");
}

TEST(SafetensorsWriter, FullDiskIsFoundFirst) {
  TempFolder folder;
  const std::string path = folder / "m.safetensors";
  ExpectError(SafetensorsWriter::Create(path, {{"huge", DType::kU8, {int64_t{1} << 60}}}).status(),
              StatusCode::kResourceExhausted, {"m.safetensors", "needs", "free"});
  struct rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit small = {1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = SafetensorsWriter::Create(path, {{"w", DType::kU8, {5000}}}).status();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ExpectError(status, StatusCode::kResourceExhausted, {"m.safetensors", "file size limit"});
  EXPECT_EQ(folder.Entries(), 0u);
}

TEST(AtomicFile, TargetsAndTemporaries) {
  TempFolder folder;
  ExpectError(AtomicFile::Create(folder.path(), 1).status(), kInvalid, {"directory"});
  ExpectError(AtomicFile::Create(folder / "no/such/file", 1).status(), StatusCode::kNotFound,
              {"no/such/file"});
  ExpectError(AtomicFile::Create("", 1).status(), kInvalid, {"path"});
  ExpectError(AtomicFile::Create(folder / "a", -1).status(), kInvalid, {"-1"});
  const std::string temporary = "a.tmp-" + std::to_string(::getpid());
  // A link planted under the temporary name is not followed.
  folder.Write("victim", "precious");
  fs::create_symlink("victim", folder / temporary);
  EXPECT_FALSE(AtomicFile::Create(folder / "a", 1).ok());
  EXPECT_EQ(ReadAll(folder / "victim"), "precious");
  fs::remove(folder / temporary);
  // One that a killed process left is taken over; one in use is not.
  folder.Write(temporary, std::string(100, 'z'));
  auto first = AtomicFile::Create(folder / "a", 3);
  ASSERT_TRUE(first.ok()) << first.status().message();
  ExpectError(AtomicFile::Create(folder / "a", 3).status(), kInvalid, {"another writer"});
  ASSERT_TRUE((*first)->Append(AsBytes("abc")).ok());
  ASSERT_TRUE((*first)->Commit().ok());
  EXPECT_EQ(ReadAll(folder / "a"), "abc");
  EXPECT_FALSE((*first)->Commit().ok());
  ASSERT_TRUE(WriteFileAtomically(folder / "a", "").ok());
  EXPECT_EQ(ReadAll(folder / "a"), "");
  EXPECT_EQ(folder.Entries(), 2u);
}

TEST(ShardedWriter, ShardsAndIndex) {
  TempFolder folder;
  const std::vector<TensorSpec> tensors = {{"a", DType::kF32, {4}},   // 16
                                           {"b", DType::kF32, {3}},   // 12, with a: 28 > 24
                                           {"c", DType::kF32, {3}},   // 12, with b: 24
                                           {"d", DType::kF32, {20}},  // 80, alone
                                           {"e", DType::kF32, {0}},  {"f", DType::kF32, {1}}};
  const std::string data = RandomBytes(16 + 12 + 12 + 80 + 4, 3);
  auto writer = ShardedSafetensorsWriter::Create(folder.path(), tensors, {}, 24);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  EXPECT_EQ((*writer)->shards().size(), 4u);
  EXPECT_EQ((*writer)->shards()[0], "model-00001-of-00004.safetensors");
  for (size_t at = 0; at < data.size(); at += 11) {
    const Status status = (*writer)->Append(AsBytes(std::string_view(data).substr(at, 11)));
    ASSERT_TRUE(status.ok()) << status.message();
  }
  EXPECT_FALSE(Checkpoint::Open(folder.path()).ok()) << "nothing is visible before Finish";
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_EQ(folder.Entries(), 5u);
  auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ((*checkpoint)->total_bytes(), static_cast<int64_t>(data.size()));
  EXPECT_EQ(ReadJsonFile(folder / "model.safetensors.index.json")->at("metadata").at("total_size"),
            data.size());
  EXPECT_TRUE((*checkpoint)->FileOf("c")->origin().ends_with("model-00002-of-00004.safetensors"));
  size_t at = 0;
  for (const TensorSpec& spec : tensors) {
    const TensorView tensor = *(*checkpoint)->Get(spec.name, spec.shape);
    EXPECT_EQ(std::memcmp(tensor.data, data.data() + at, static_cast<size_t>(tensor.bytes())), 0);
    at += static_cast<size_t>(tensor.bytes());
  }
}

TEST(ShardedWriter, OneShardNeedsNoIndex) {
  TempFolder folder;
  auto writer = ShardedSafetensorsWriter::Create(folder.path(), kTensors, {}, 1 << 20);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Append(AsBytes(RandomBytes(kDataBytes, 4))).ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_EQ(folder.Entries(), 1u);
  EXPECT_TRUE(Checkpoint::Open(folder.path()).ok());
}

TEST(ShardedWriter, AllOrNothing) {
  TempFolder folder;
  const std::vector<TensorSpec> tensors = {{"a", DType::kU8, {4}}, {"b", DType::kU8, {4}}};
  {
    auto writer = ShardedSafetensorsWriter::Create(folder.path(), tensors, {}, 4);
    ASSERT_TRUE(writer.ok());
    EXPECT_EQ(folder.Entries(), 3u);
    ASSERT_TRUE((*writer)->Append(AsBytes("12345")).ok());
    ExpectError((*writer)->Finish(), kInvalid, {"model-00002-of-00002", "announced"});
  }
  EXPECT_EQ(folder.Entries(), 0u);
  {
    auto writer = ShardedSafetensorsWriter::Create(folder.path(), tensors, {}, 4);
    ExpectError((*writer)->Append(AsBytes("123456789")), kInvalid, {"announced"});
  }
  ExpectError(ShardedSafetensorsWriter::Create(folder.path(), tensors, {}, 0).status(), kInvalid,
              {"0 bytes"});
  ExpectError(
      ShardedSafetensorsWriter::Create(folder.path(), {tensors[0], tensors[0]}, {}, 4).status(),
      kInvalid, {"'a'", "twice"});
  ExpectError(ShardedSafetensorsWriter::Create(folder / "absent", tensors, {}, 4).status(),
              StatusCode::kNotFound, {"absent"});
  const std::vector<TensorSpec> huge = {{"a", DType::kU8, {4}},
                                        {"b", DType::kU8, {int64_t{1} << 60}}};
  ExpectError(ShardedSafetensorsWriter::Create(folder.path(), huge, {}, 4).status(),
              StatusCode::kResourceExhausted, {"model-00002-of-00002.safetensors", "needs"});
  EXPECT_EQ(folder.Entries(), 0u);
  folder.Write("model.safetensors", "old");
  ExpectError(ShardedSafetensorsWriter::Create(folder.path(), tensors, {}, 4).status(), kInvalid,
              {folder.path(), "'model.safetensors'"});
}

}  // namespace
}  // namespace tessera
