#include "tessera/backend/cpu/packed_matrix.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace tessera::cpu {
namespace {

using ops::MatrixSource;
using ops::WeightFormat;
using ops::WeightType;

// A tensor of `dtype` whose bytes start at an odd address, as in a safetensors file.
struct OddTensor {
  std::vector<std::byte> bytes;
  TensorView view;
};

OddTensor MakeTensor(DType dtype, int64_t out, int64_t in) {
  OddTensor tensor;
  tensor.bytes.resize(static_cast<size_t>(out * in * SizeOf(dtype) + 1));
  for (int64_t i = 0; i < out * in; ++i) {
    std::byte* to = tensor.bytes.data() + 1 + i * SizeOf(dtype);
    const float value = static_cast<float>(i * 37 % 1001) * 0.01f - 5.0f;
    const uint16_t half = static_cast<uint16_t>(0x3000 + i * 37 % 4001);  // f16 0.125 to 2
    const uint16_t brain = BF16FromFloat(value);
    if (dtype == DType::kF32) std::memcpy(to, &value, 4);
    if (dtype == DType::kF16) std::memcpy(to, &half, 2);
    if (dtype == DType::kBF16) std::memcpy(to, &brain, 2);
  }
  tensor.view = {tensor.bytes.data() + 1, dtype, {out, in}};
  return tensor;
}

TEST(PackedMatrixTest, RowsOfStackedPartsReadBack) {
  ThreadPool pool(2);
  for (const WeightType type : {WeightType::kF32, WeightType::kBF16}) {
    for (const int64_t in : {1, 2, 31, 32, 257, 600}) {
      const OddTensor parts[] = {MakeTensor(DType::kF32, 5, in), MakeTensor(DType::kF16, 17, in),
                                 MakeTensor(DType::kBF16, 33, in)};
      MatrixSource source;
      source.format.type = type;
      for (const OddTensor& part : parts) source.parts.push_back(part.view);
      const auto matrix = PackMatrix(source, pool);
      ASSERT_TRUE(matrix.ok()) << matrix.status().message();
      EXPECT_EQ((*matrix)->out(), 55);
      EXPECT_EQ((*matrix)->in(), in);
      EXPECT_EQ((*matrix)->bytes(),
                64 * ((in + 31) / 32 * 32) * (type == WeightType::kF32 ? 4 : 2));
      int64_t row = 0;
      std::vector<float> values(static_cast<size_t>(in));
      for (const OddTensor& part : parts) {
        for (int64_t i = 0; i < part.view.shape[0]; ++i, ++row) {
          (*matrix)->ReadRow(row, values.data());
          for (int64_t k = 0; k < in; ++k) {
            const float source_value = FloatAt(part.view, i * in + k);
            ASSERT_EQ(values[k], type == WeightType::kF32
                                     ? source_value
                                     : FloatFromBF16(BF16FromFloat(source_value)))
                << "row " << row << " input " << k;
          }
        }
      }
    }
  }
}

// The layout is a contract with every kernel: checked element by element, padding included.
TEST(PackedMatrixTest, LayoutIsPanelsOf16WithInputPairs) {
  ThreadPool pool(1);
  const OddTensor tensor = MakeTensor(DType::kBF16, 18, 35);
  const auto matrix = PackMatrix({.parts = {tensor.view}, .format = {}}, pool);
  ASSERT_TRUE(matrix.ok());
  ASSERT_EQ((*matrix)->num_panels(), 2);
  ASSERT_EQ((*matrix)->padded_in(), 64);
  EXPECT_EQ(reinterpret_cast<uintptr_t>((*matrix)->data()) % 64, 0u);
  const auto* data = reinterpret_cast<const uint16_t*>((*matrix)->data());
  for (int64_t o = 0; o < 32; ++o) {
    for (int64_t k = 0; k < 64; ++k) {
      const float value = FloatFromBF16(data[o / 16 * 64 * 16 + k / 2 * 32 + o % 16 * 2 + k % 2]);
      ASSERT_EQ(value, o < 18 && k < 35 ? FloatAt(tensor.view, o * 35 + k) : 0.0f);
    }
  }
}

TEST(PackedMatrixTest, RefusesWhatItCannotPack) {
  ThreadPool pool(1);
  const OddTensor tensor = MakeTensor(DType::kF32, 4, 6);
  const OddTensor narrow = MakeTensor(DType::kF32, 4, 5);
  const auto code = [&](const MatrixSource& source) {
    return PackMatrix(source, pool).status().code();
  };
  EXPECT_EQ(code({.parts = {}, .format = {}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.parts = {tensor.view, narrow.view}, .format = {}}),
            StatusCode::kInvalidArgument);
  TensorView flat = tensor.view;
  flat.shape = {24};
  EXPECT_EQ(code({.parts = {flat}, .format = {}}), StatusCode::kInvalidArgument);
  TensorView empty = tensor.view;
  empty.shape = {0, 6};
  EXPECT_EQ(code({.parts = {empty}, .format = {}}), StatusCode::kInvalidArgument);
  TensorView integers = tensor.view;
  integers.dtype = DType::kI32;
  EXPECT_EQ(code({.parts = {integers}, .format = {}}), StatusCode::kInvalidArgument);

  const auto fp8 = PackMatrix({.parts = {tensor.view}, .format = {.type = WeightType::kF8}}, pool);
  EXPECT_EQ(fp8.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(fp8.status().message().find("fp8 needs a GPU (device cuda:N)"), std::string::npos);
  EXPECT_NE(fp8.status().message().find("int8"), std::string::npos);

  const WeightFormat odd_group = {.type = WeightType::kInt4, .group = 48, .symmetric = true};
  const auto refused = PackMatrix({.parts = {tensor.view}, .format = odd_group}, pool);
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  for (const char* word : {"48", "32", "64", "128"}) {
    EXPECT_NE(refused.status().message().find(word), std::string::npos) << word;
  }
}

}  // namespace
}  // namespace tessera::cpu
