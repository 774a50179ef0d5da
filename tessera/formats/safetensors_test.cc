#include "tessera/formats/safetensors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tessera/formats/test_util.h"

namespace tessera {
namespace {

constexpr auto kData = StatusCode::kDataLoss;

// The error of a file with this header and so many data bytes.
Status ErrorOf(std::string_view header, size_t data_bytes) {
  const std::string bytes = SafetensorsBytes(header, data_bytes);
  return SafetensorsFile::Parse(AsBytes(bytes), "m.safetensors").status();
}

TEST(Safetensors, ReadsEveryDType) {
  const std::string bytes =
      SafetensorsBytes(R"({"__metadata__":{"format":"pt"},)"
                       R"("f32":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                       R"("f16":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},)"
                       R"("bf16":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},)"
                       R"("i64":{"dtype":"I64","shape":[],"data_offsets":[16,24]},)"
                       R"("i32":{"dtype":"I32","shape":[1,1,1],"data_offsets":[24,28]},)"
                       R"("u8":{"dtype":"U8","shape":[3],"data_offsets":[28,31]},)"
                       R"("bool":{"dtype":"BOOL","shape":[1],"data_offsets":[31,32]},)"
                       R"("empty":{"dtype":"F32","shape":[0,5],"data_offsets":[32,32]}}   )",
                       32);
  auto file = SafetensorsFile::Parse(AsBytes(bytes), "m.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->names(),
            (std::vector<std::string>{"bf16", "bool", "empty", "f16", "f32", "i32", "i64", "u8"}));
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  EXPECT_EQ((*file)->total_bytes(), 32);
  const TensorView* f32 = (*file)->Find("f32");
  ASSERT_NE(f32, nullptr);
  EXPECT_EQ(f32->shape, (Shape{2, 1}));
  EXPECT_EQ(f32->data, AsBytes(bytes).data() + bytes.size() - 32);
  EXPECT_EQ((*file)->Find("i64")->bytes(), 8);
  EXPECT_EQ((*file)->Find("empty")->bytes(), 0);
  EXPECT_TRUE(CheckFinite(*(*file)->Find("empty"), "empty").ok());
  EXPECT_TRUE((*file)->Get("f16", {2}).ok());
  EXPECT_TRUE((*file)->Get("f32", {kAnyExtent, 1}).ok());
  EXPECT_TRUE((*file)->Get("i32", {1, 1, 1}, Accept::kAnyDType).ok());
}

TEST(Safetensors, NoTensorsIsAFile) {
  const std::string bytes = SafetensorsBytes("{}", 0);
  auto file = SafetensorsFile::Parse(AsBytes(bytes), "m");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_TRUE((*file)->names().empty());
}

TEST(Safetensors, GetSaysWhatIsWrong) {
  const std::string bytes =
      SafetensorsBytes(R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                       R"("q":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[24,28]},)"
                       R"("n":{"dtype":"NEW","shape":[4],"data_offsets":[28,31]},)"
                       R"("i":{"dtype":"I32","shape":[1],"data_offsets":[31,35]}})",
                       35);
  auto file = SafetensorsFile::Parse(AsBytes(bytes), "m.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->names().size(), 4u);
  EXPECT_EQ((*file)->StoredDType("q"), "F8_E4M3");
  EXPECT_EQ((*file)->Find("q"), nullptr);
  ExpectError((*file)->Get("q").status(), StatusCode::kUnimplemented,
              {"m.safetensors", "'q'", "'F8_E4M3'", "BF16"});
  ExpectError((*file)->Get("n").status(), StatusCode::kUnimplemented, {"'n'", "'NEW'"});
  ExpectError((*file)->Get("x").status(), StatusCode::kNotFound, {"m.safetensors", "'x'"});
  ExpectError((*file)->Get("w", {3, 2}).status(), kData,
              {"m.safetensors", "'w'", "[2, 3]", "[3, 2]"});
  ExpectError((*file)->Get("w", {6}).status(), kData, {"'w'", "[2, 3]", "[6]"});
  ExpectError((*file)->Get("i", {1}).status(), StatusCode::kUnimplemented, {"'i'", "i32", "bf16"});
}

TEST(Safetensors, RefusesTruncation) {
  const std::string bytes =
      SafetensorsBytes(R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", 16);
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto file = SafetensorsFile::Parse(AsBytes(bytes).first(size), "m.safetensors");
    ExpectError(file.status(), kData, {"m.safetensors"});
    if (size > bytes.size() - 16) ExpectError(file.status(), kData, {"'w'", "truncated"});
  }
}

TEST(Safetensors, RefusesHeaderLengths) {
  // 4 GB, and the largest length there is, in files of a few bytes: refused before any allocation.
  for (const uint64_t claimed : {uint64_t{1} << 32, ~uint64_t{0}, uint64_t{100'000'001}}) {
    const std::string bytes = LittleEndian(claimed) + "{}";
    ExpectError(SafetensorsFile::Parse(AsBytes(bytes), "m.safetensors").status(), kData,
                {"m.safetensors", "header length", std::to_string(claimed)});
  }
  const std::string bytes = LittleEndian(3) + "{}";
  ExpectError(SafetensorsFile::Parse(AsBytes(bytes), "m.safetensors").status(), kData,
              {"m.safetensors", "truncated", "3 bytes", "2 bytes"});
}

TEST(Safetensors, FourGigabyteHeaderInASparseFileIsNotAllocated) {
  TempFolder folder;
  const std::string path = folder.Write("m.safetensors", LittleEndian(uint64_t{1} << 32) + "{");
  std::filesystem::resize_file(path, (uint64_t{1} << 32) + 8);
  ExpectError(SafetensorsFile::Open(path).status(), kData, {path, "header length is 4294967296"});
}

TEST(Safetensors, RefusesBadHeaders) {
  ExpectError(ErrorOf("", 0), kData, {"m.safetensors", "header"});
  ExpectError(ErrorOf("[]", 0), kData, {"m.safetensors", "header", "'{'"});
  ExpectError(ErrorOf("{\"w\":", 0), kData, {"m.safetensors", "header", "byte"});
  ExpectError(ErrorOf("{} x", 0), kData, {"m.safetensors", "header", "byte"});
  ExpectError(ErrorOf("{\"\xff\":1}", 0), kData, {"m.safetensors", "header", "UTF-8"});
  ExpectError(ErrorOf("{\"w\":3}", 0), kData, {"m.safetensors", "'w'", "object"});
  ExpectError(ErrorOf("{\"w\":[[[[[[[[[[]]]]]]]]]]}", 0), kData, {"m.safetensors", "nest"});
  ExpectError(ErrorOf(R"({"__metadata__":3})", 0), kData, {"__metadata__"});
  ExpectError(ErrorOf(R"({"__metadata__":{"k":3}})", 0), kData, {"__metadata__", "'k'"});
}

TEST(Safetensors, RefusesDuplicates) {
  ExpectError(ErrorOf(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                      R"("w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                      2),
              kData, {"m.safetensors", "'w'", "twice"});
  ExpectError(ErrorOf(R"({"w":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})", 1),
              kData, {"m.safetensors", "'dtype'", "twice"});
}

TEST(Safetensors, RefusesFieldsNamingFileTensorAndField) {
  const struct {
    const char* fields;
    const char* names;
  } cases[] = {
      {R"("shape":[1],"data_offsets":[0,4])", "'dtype'"},
      {R"("dtype":"F32","data_offsets":[0,4])", "'shape'"},
      {R"("dtype":"F32","shape":[1])", "'data_offsets'"},
      {R"("dtype":7,"shape":[1],"data_offsets":[0,4])", "'dtype' is 7"},
      {R"("dtype":"F32","shape":1,"data_offsets":[0,4])", "'shape' is 1"},
      {R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])", "'shape' is [-1]"},
      {R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])", "'shape' is [1.0]"},
      {R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4])", "'shape'"},
      {R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4])",
       "at most 16"},
      {R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])", "overflows"},
      {R"("dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0])", "overflows"},
      {R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4])", "overflows"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", "takes 8 bytes"},
      {R"("dtype":"F32","shape":[],"data_offsets":[0,3])", "takes 4 bytes"},
      {R"("dtype":"F8_E4M3","shape":[3],"data_offsets":[0,4])", "takes 3 bytes"},
      {R"("dtype":"F4","shape":[3],"data_offsets":[0,2])", "takes 2 bytes"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[0])", "'data_offsets'"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])", "'data_offsets'"},
      {R"("dtype":"F32","shape":[1],"data_offsets":["0","4"])", "'data_offsets'"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", "before"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[4,8])", "4 bytes of data"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615])", "'data_offsets'"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775807])", "4 bytes of data"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.fields);
    ExpectError(ErrorOf("{\"w\":{" + std::string(c.fields) + "}}", 4), kData,
                {"m.safetensors", "'w'", c.names});
  }
}

TEST(Safetensors, RefusesOverlapHoleAndTail) {
  constexpr std::string_view kFirst = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)";
  ExpectError(
      ErrorOf(std::string(kFirst) + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})", 7),
      kData, {"m.safetensors", "'b'", "overlaps", "'a'"});
  ExpectError(
      ErrorOf(std::string(kFirst) + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4),
      kData, {"m.safetensors", "'b'", "overlaps", "'a'"});
  ExpectError(
      ErrorOf(std::string(kFirst) + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}})", 9),
      kData, {"m.safetensors", "'b'", "holes"});
  ExpectError(ErrorOf(R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", 5), kData,
              {"m.safetensors", "'b'", "holes"});
  ExpectError(ErrorOf(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 9), kData,
              {"m.safetensors", "5 bytes follow", "'a'"});
  ExpectError(ErrorOf("{}", 1), kData, {"m.safetensors", "1 bytes follow"});
  // An empty tensor in the middle of another is an overlap too.
  ExpectError(
      ErrorOf(std::string(kFirst) + R"("e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})", 4),
      kData, {"m.safetensors", "'e'", "overlaps"});
}

TEST(Safetensors, HostileNamesStayOnOneLine) {
  ExpectError(ErrorOf(R"({"\u001b[31m\nx":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
              kData, {"m.safetensors", "'\\x1b[31m\\x0ax'"});
}

TEST(Safetensors, OpenRefusesWhatIsNoFile) {
  TempFolder folder;
  ExpectError(SafetensorsFile::Open(folder.path()).status(), StatusCode::kInvalidArgument,
              {folder.path()});
  ExpectError(SafetensorsFile::Open(folder / "none.safetensors").status(), StatusCode::kNotFound,
              {"none.safetensors"});
}

TEST(Safetensors, AdviseKeepsData) {
  TempFolder folder;
  std::string bytes =
      SafetensorsBytes(R"({"w":{"dtype":"U8","shape":[20000],"data_offsets":[0,20000]}})", 20000);
  bytes.back() = 7;
  auto file = SafetensorsFile::Open(folder.Write("m.safetensors", bytes));
  ASSERT_TRUE(file.ok()) << file.status().message();
  (*file)->Advise("w", MapAdvice::kWillNeed);
  (*file)->Advise("w", MapAdvice::kDontNeed);
  (*file)->Advise("absent", MapAdvice::kDontNeed);
  EXPECT_EQ((*file)->Find("w")->data[19999], std::byte{7});
}

}  // namespace
}  // namespace tessera
