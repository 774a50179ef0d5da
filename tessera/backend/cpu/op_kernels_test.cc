// The kernel tables directly: what the op suite cannot see through a device.
#include "tessera/backend/cpu/op_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tessera/backend/cpu/isa.h"

namespace tessera::cpu {
namespace {

std::vector<const OpKernels*> Tables() {
  std::vector<const OpKernels*> tables = {&generic::kOpKernels};
#if defined(__x86_64__)
  for (const Isa isa : AvailableIsas()) {
    if (isa == Isa::kAvx2) tables.push_back(&avx2::kOpKernels);
    if (isa == Isa::kAvx512) tables.push_back(&avx512::kOpKernels);
  }
#endif
  return tables;
}

TEST(OpKernels, ExpIsAccurate) {
  std::vector<float> x;
  for (double value = -87.3; value < 88.3; value += 0.00137) x.push_back(static_cast<float>(value));
  for (float tiny = 1e-30f; tiny < 1; tiny *= 1.7f) x.insert(x.end(), {tiny, -tiny});
  std::vector<float> y(x.size());
  for (const OpKernels* table : Tables()) {
    table->exp_row(x.data(), static_cast<int64_t>(x.size()), 0, 1, y.data());
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = std::exp(double{x[i]});
      worst = std::max(worst, std::fabs(y[i] - exact) / exact);
    }
    EXPECT_LT(worst, 1.5 * 0x1p-23) << table->name;
  }
}

TEST(OpKernels, ExpOfSpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {0, -0.0f, -inf, -1e30f, -104, std::nanf("")};
  for (const OpKernels* table : Tables()) {
    std::vector<float> y(x.size(), 7);
    table->exp_row(x.data(), static_cast<int64_t>(x.size()), 0, 1, y.data());
    EXPECT_EQ(y[0], 1) << table->name;
    EXPECT_EQ(y[1], 1) << table->name;
    for (const size_t i : {2, 3, 4}) EXPECT_EQ(y[i], 0) << table->name;
    EXPECT_TRUE(std::isnan(y[5])) << table->name;
  }
}

TEST(OpKernels, TopListKeepsTheBestInOrder) {
  std::vector<float> logits(256);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>((i * 37) % 64);
  logits[5] = -std::numeric_limits<float>::infinity();
  for (const OpKernels* table : Tables()) {
    TopList top = {.capacity = kMaxTop, .size = 0, .value = {}, .id = {}};
    table->update_top(logits.data() + 128, 128, 128, &top);  // out of id order
    table->update_top(logits.data(), 128, 0, &top);
    ASSERT_EQ(top.size, kMaxTop);
    for (int i = 1; i < kMaxTop; ++i) {
      EXPECT_TRUE(top.value[i - 1] > top.value[i] ||
                  (top.value[i - 1] == top.value[i] && top.id[i - 1] < top.id[i]))
          << table->name << " " << i;
      EXPECT_EQ(top.value[i], logits[top.id[i]]);
    }
    EXPECT_EQ(top.value[0], 63);
  }
}

TEST(OpKernels, ChunkSumsMarkInvalidChunks) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const OpKernels* table : Tables()) {
    std::vector<float> logits(64, -inf);
    EXPECT_EQ(table->chunk_sums(logits.data(), 64).max, -inf) << table->name;
    logits[17] = 2;
    const ChunkSums one = table->chunk_sums(logits.data(), 64);
    EXPECT_EQ(one.max, 2);
    EXPECT_EQ(one.z, 1);
    EXPECT_EQ(one.s, 0);
    for (const float bad : {inf, std::nanf("")}) {
      for (const size_t at : {0, 31, 63}) {
        std::vector<float> broken = logits;
        broken[at] = bad;
        EXPECT_TRUE(std::isnan(table->chunk_sums(broken.data(), 64).max)) << table->name;
      }
    }
  }
}

}  // namespace
}  // namespace tessera::cpu
