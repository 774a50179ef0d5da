#include "tessera/formats/quantized_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "tessera/formats/model_files.h"
#include "tessera/formats/quantized_codes.h"
#include "tessera/formats/safetensors.h"
#include "tessera/formats/test_util.h"

namespace tessera {
namespace {

constexpr auto kData = StatusCode::kDataLoss;

// Codes of 4 bits and of 8 for widths around the run of 64.
TEST(QuantizedCodes, RoundTripAndLayout) {
  for (const int32_t bits : {4, 8}) {
    for (const int64_t in : {1, 31, 32, 33, 63, 64, 65, 127, 128, 200}) {
      std::vector<uint8_t> codes(static_cast<size_t>(in)), back(codes.size());
      for (size_t k = 0; k < codes.size(); ++k) {
        codes[k] = static_cast<uint8_t>((k * 37 + 11) & ((1 << bits) - 1));
      }
      std::vector<uint8_t> bytes(static_cast<size_t>(CodeRowBytes(in, bits)), 0xee);
      PackCodeRow(codes, bits, bytes.data());
      UnpackCodeRow(bytes.data(), bits, back);
      EXPECT_EQ(back, codes) << in << " at " << bits;
      EXPECT_EQ(static_cast<int64_t>(bytes.size()), (in + 63) / 64 * (bits == 4 ? 32 : 64));
      if (in % 64 != 0) {
        EXPECT_EQ(bytes.back() >> 4, 0) << in;  // what pads is zero
      }
      // The layout itself: input j low, input 32 + j high.
      if (bits == 4 && in >= 64) {
        EXPECT_EQ(bytes[5] & 15, codes[5]);
        EXPECT_EQ(bytes[5] >> 4, codes[37]);
      }
    }
  }
}

// A file whose matrix "m" of 2 x 70 has groups of 32, as the parts of a test want them.
struct Parts {
  std::string codes = std::string(2 * 64, '\x21');  // input j 1, input 32 + j 2
  std::string codes_shape = "[2,64]", codes_dtype = "U8";
  std::string scales_shape = "[2,3]", scales_dtype = "F32";
  std::vector<float> scales = {1, 2, 3, 4, 5, 6};
  std::vector<float> mins;  // none: symmetric

  std::string File() const {
    const auto floats = [](const std::vector<float>& values) {
      return std::string(reinterpret_cast<const char*>(values.data()), 4 * values.size());
    };
    const size_t a = codes.size(), b = a + 4 * scales.size(), c = b + 4 * mins.size();
    std::string header =
        fmt::format(R"({{"m.codes":{{"dtype":"{}","shape":{},"data_offsets":[0,{}]}},)"
                    R"("m.scales":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                    codes_dtype, codes_shape, a, scales_dtype, scales_shape, a, b);
    if (!mins.empty()) {
      header +=
          fmt::format(R"(,"m.mins":{{"dtype":"F32","shape":[2,3],"data_offsets":[{},{}]}})", b, c);
    }
    header += "}";
    return LittleEndian(header.size()) + header + codes + floats(scales) + floats(mins);
  }
};

std::string Config(std::string_view matrices, std::string_view method = "tessera") {
  return fmt::format(
      R"({{"quantization_config":{{"quant_method":"{}","format_version":1,"matrices":{}}}}})",
      method, matrices);
}

constexpr std::string_view kSymmetric =
    R"({"m":{"shape":[2,70],"bits":4,"group_size":32,"symmetric":true}})";
constexpr std::string_view kAsymmetric =
    R"({"m":{"shape":[2,70],"bits":4,"group_size":32,"symmetric":false}})";

struct Opened {
  std::string bytes;  // what the tensors lie in
  Result<std::unique_ptr<QuantizedCheckpoint>> checkpoint = Internal("not opened");
};

Opened Open(std::string_view matrices, const Parts& parts) {
  Opened opened{.bytes = parts.File()};
  const auto json = ParseJson(Config(matrices), "config.json");
  const auto listed = ParseQuantizationConfig(*JsonObject::Of(*json, "config.json"));
  if (!listed.ok()) {
    opened.checkpoint = listed.status();
    return opened;
  }
  auto file = SafetensorsFile::Parse(AsBytes(opened.bytes), "weights");
  if (!file.ok()) {
    opened.checkpoint = file.status();
    return opened;
  }
  opened.checkpoint = QuantizedCheckpoint::Open(std::move(*file), *listed);
  return opened;
}

TEST(QuantizedCheckpoint, SymmetricRow) {
  const Opened opened = Open(kSymmetric, {});
  ASSERT_TRUE(opened.checkpoint.ok()) << opened.checkpoint.status().message();
  const QuantizedCheckpoint& checkpoint = **opened.checkpoint;
  EXPECT_EQ(checkpoint.names(), std::vector<std::string>{"m"});
  EXPECT_EQ(checkpoint.Find("m"), nullptr);
  EXPECT_EQ(checkpoint.Find("m.codes"), nullptr);
  const auto tensor = checkpoint.GetQuantizedFinite("m", {2, 70});
  ASSERT_TRUE(tensor.ok()) << tensor.status().message();
  EXPECT_EQ((*tensor)->type_name(), "int4-g32");
  EXPECT_EQ((*tensor)->bytes(), 2 * 64 + 6 * 4);
  std::vector<uint8_t> codes(70);
  std::vector<float> scales(3), mins(3);
  (*tensor)->ReadRow(1, codes.data(), scales.data(), mins.data());
  EXPECT_EQ(codes[0], 1);
  EXPECT_EQ(codes[32], 2);
  EXPECT_EQ(codes[64], 1);
  EXPECT_EQ(scales, (std::vector<float>{4, 5, 6}));
  EXPECT_EQ(mins, (std::vector<float>{-32, -40, -48}));
  ExpectError(checkpoint.Get("m").status(), StatusCode::kUnimplemented,
              {"weights", "'m'", "int4-g32"});
  ExpectError(checkpoint.Get("m.codes").status(), StatusCode::kNotFound, {"'m.codes'"});
}

TEST(QuantizedCheckpoint, AsymmetricRow) {
  Parts parts;
  parts.mins = {-1, -2, -3, -4, -5, -6};
  const Opened opened = Open(kAsymmetric, parts);
  ASSERT_TRUE(opened.checkpoint.ok()) << opened.checkpoint.status().message();
  const auto tensor = (*opened.checkpoint)->GetQuantizedFinite("m", {2, 70});
  ASSERT_TRUE(tensor.ok()) << tensor.status().message();
  std::vector<uint8_t> codes(70);
  std::vector<float> scales(3), mins(3);
  (*tensor)->ReadRow(0, codes.data(), scales.data(), mins.data());
  EXPECT_EQ(mins, (std::vector<float>{-1, -2, -3}));
  EXPECT_EQ((*tensor)->type_name(), "int4-g32-asym");
}

TEST(QuantizedCheckpoint, RefusesWrongParts) {
  ExpectError(Open(kAsymmetric, {}).checkpoint.status(), StatusCode::kNotFound, {"'m.mins'"});
  Parts parts;
  parts.codes_shape = "[128]";
  ExpectError(Open(kSymmetric, parts).checkpoint.status(), kData, {"'m.codes'", "[2, 64]"});
  parts = {};
  parts.codes_dtype = "BOOL";
  ExpectError(Open(kSymmetric, parts).checkpoint.status(), kData, {"'m.codes'", "bool", "u8"});
  parts = {};
  parts.scales_shape = "[3,2]";
  ExpectError(Open(kSymmetric, parts).checkpoint.status(), kData, {"'m.scales'", "[2, 3]"});
  parts = {};
  parts.scales_dtype = "I32";
  ExpectError(Open(kSymmetric, parts).checkpoint.status(), kData, {"'m.scales'", "i32"});
  ExpectError(Open(R"({"n":{"shape":[2,70],"bits":4,"group_size":32,"symmetric":true}})", {})
                  .checkpoint.status(),
              StatusCode::kNotFound, {"'n.codes'"});
  // "m.codes" would be the matrix, and its own parts are missing.
  ExpectError(Open(R"({"m.codes":{"shape":[2,64],"bits":8,"group_size":0,"symmetric":true}})", {})
                  .checkpoint.status(),
              kData, {"'m.codes'", "as it is"});
}

TEST(QuantizedCheckpoint, RefusesScalesThatGiveNoWeights) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float bad : {-1.0f, -0.0f, kInf, -kInf, std::nanf(""), 3e38f}) {
    Parts parts;
    parts.scales[4] = bad;
    const Opened opened = Open(kSymmetric, parts);
    ASSERT_TRUE(opened.checkpoint.ok());  // values are looked at when the tensor is asked for
    ExpectError((*opened.checkpoint)->GetQuantizedFinite("m", {2, 70}).status(), kData,
                {"weights", "'m.scales'", "element 4"});
  }
  for (const float bad : {kInf, -kInf, std::nanf(""), -3e38f}) {
    Parts parts;
    parts.mins = {0, 0, bad, 0, 0, 0};
    const Opened opened = Open(kAsymmetric, parts);
    ExpectError((*opened.checkpoint)->GetQuantizedFinite("m", {2, 70}).status(), kData,
                {"weights", "'m.mins'", "element 2"});
  }
}

TEST(QuantizationConfig, RefusesWhatNoLayoutHas) {
  const auto parse = [](std::string_view matrices, std::string_view method = "tessera") {
    const auto json = ParseJson(Config(matrices, method), "config.json");
    return ParseQuantizationConfig(*JsonObject::Of(*json, "config.json")).status();
  };
  const auto entry = [](std::string_view shape, int bits, int group) {
    return fmt::format(R"({{"m":{{"shape":{},"bits":{},"group_size":{},"symmetric":true}}}})",
                       shape, bits, group);
  };
  EXPECT_TRUE(parse(entry("[2,70]", 4, 0)).ok());
  ExpectError(parse("{}", "awq"), StatusCode::kUnimplemented, {"config.json", "'awq'", "tessera"});
  ExpectError(parse(entry("[2,70]", 3, 0)), kData, {"config.json", "'m'", "bits", "3"});
  for (const auto& bad :
       {entry("[2]", 4, 0), entry("[2,0]", 4, 0), entry("[2,-1]", 4, 0), entry("[2,3,4]", 4, 0),
        entry("[2,9999999999]", 4, 0), entry("[2,70]", 4, -1), entry("\"x\"", 4, 0)}) {
    EXPECT_FALSE(parse(bad).ok()) << bad;
  }
  ExpectError(parse(R"({"m":3})"), parse(R"({"m":3})").code(), {"config.json", "'m'"});
  EXPECT_FALSE(parse(R"({"m":{"shape":[2,2],"bits":4,"group_size":0}})").ok());
  EXPECT_FALSE(parse("[]").ok());
}

TEST(QuantizedCheckpoint, OpensAsAModelFolder) {
  TempFolder folder;
  folder.Write("model.safetensors", Parts().File());
  folder.Write("config.json", Config(kSymmetric));
  const auto files = OpenModelFiles(folder.path());
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_NE(files->tensors->FindQuantized("m"), nullptr);
  EXPECT_EQ(files->tensors->Describe("m")->type, "int4-g32");
  folder.Write("config.json", Config(kSymmetric, "gptq"));
  ExpectError(OpenModelFiles(folder.path()).status(), StatusCode::kUnimplemented,
              {folder.path(), "'gptq'"});
}

}  // namespace
}  // namespace tessera
