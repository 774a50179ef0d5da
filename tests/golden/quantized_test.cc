// Every architecture survives being quantised and loaded again: the integers stay integers in
// memory, and multiplying them (activations rounded to bytes, int4 codes to the byte grid) changes
// the logits by little against the same weights as f32. How much the rounding of the weights
// changes tiny random networks says nothing and is not tested here; docs/quantization.md measures
// a trained one.
#include <unistd.h>

#include <filesystem>

#include "tessera/api/quantize.h"
#include "tests/golden/golden.h"

namespace tessera::golden {
namespace {

class Quantized : public ::testing::TestWithParam<std::string> {};

std::vector<float> LogitsOf(const std::string& folder, const std::string& dtype,
                            std::string* format) {
  const auto model = Unwrap(api::Model::Load(
      folder, {.device = DeviceName(), .threads = 1, .dtype = dtype, .mask_id = 7}));
  *format = model->info().dtype;
  std::vector<api::TokenId> ids;
  for (int32_t i = 0; i < 24; ++i) ids.push_back((37 * i + 5) % 150);
  return Unwrap(model->Logits(ids));
}

TEST_P(Quantized, LogitsStayClose) {
  std::string pattern = (std::filesystem::temp_directory_path() / "tessera-XXXXXX").string();
  const std::string root = ::mkdtemp(pattern.data());
  const std::string model = Folder(GetParam()) + "/model";
  struct Case {
    int bits, group;
    const char* format;
    double bound;  // the largest of all models were 0.057 (int8) and 0.086 (int4), AMX
  };
  for (const Case& c : {Case{8, 0, "int8", 0.08}, Case{4, 32, "int4-g32", 0.15}}) {
    const std::string out = root + "/" + std::to_string(c.bits);
    const auto report =
        api::Quantize({.model = model, .output = out, .bits = c.bits, .group = c.group});
    ASSERT_TRUE(report.ok()) << report.status().message();
    std::string format;
    const std::vector<float> floats = LogitsOf(out, "f32", &format);
    EXPECT_EQ(format, "f32");
    const std::vector<float> integers = LogitsOf(out, "auto", &format);
    EXPECT_TRUE(format.starts_with(c.format)) << format;
    const double error = RelativeError(integers, floats);
    EXPECT_LE(error, c.bound) << c.format;
    EXPECT_GT(error, 0) << "the integers were not multiplied as integers";
  }
  std::filesystem::remove_all(root);
}

INSTANTIATE_TEST_SUITE_P(Models, Quantized, ::testing::ValuesIn(Names()));

}  // namespace
}  // namespace tessera::golden
