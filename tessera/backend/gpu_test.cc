#include "tessera/backend/gpu.h"

#include <gtest/gtest.h>

namespace tessera::backend {
namespace {

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

GpuReport TwoGpus() {
  return {.compiled = true,
          .driver = 13020,
          .runtime = 13000,
          .gpus = {{.ordinal = 0,
                    .name = "NVIDIA H100 80GB HBM3",
                    .capability = 90,
                    .multiprocessors = 132,
                    .memory_bytes = int64_t{80} << 30,
                    .free_bytes = int64_t{79} << 30,
                    .clock_mhz = 1980,
                    .memory_clock_mhz = 2619,
                    .memory_bus_bits = 5120},
                   {.ordinal = 1,
                    .name = "Tesla T4",
                    .capability = 75,
                    .multiprocessors = 40,
                    .memory_bytes = int64_t{15} << 30}}};
}

TEST(Gpu, OrdinalOfAName) {
  EXPECT_EQ(*ParseGpuOrdinal("cuda"), 0);
  EXPECT_EQ(*ParseGpuOrdinal("cuda:0"), 0);
  EXPECT_EQ(*ParseGpuOrdinal("cuda:12"), 12);
  for (const char* name :
       {"", "cpu", "cuda:", "cuda:-1", "cuda:1x", "cuda: 1", "cuda0", "cuda:99999999999"}) {
    EXPECT_EQ(ParseGpuOrdinal(name).status().code(), StatusCode::kInvalidArgument) << name;
  }
}

TEST(Gpu, ReportsAreLines) {
  EXPECT_EQ(Describe({}), std::vector<std::string>{"cuda: this build has no CUDA backend"});
  EXPECT_EQ(Describe({.compiled = true, .problem = "the driver reports no GPU"}),
            std::vector<std::string>{"cuda: no GPU: the driver reports no GPU"});
  EXPECT_EQ(Describe(TwoGpus()),
            (std::vector<std::string>{
                "cuda:0: NVIDIA H100 80GB HBM3, 79.0 of 80.0 GiB free, up to 3352 GB/s, 132 "
                "multiprocessors at 1980 MHz, capability 9.0",
                "cuda:1: Tesla T4, 15.0 GiB, up to 0 GB/s, 40 multiprocessors at 0 MHz, capability "
                "7.5 (unusable: 8.0 is needed)",
                "driver for CUDA 13.2, built with 13.0"}));
}

TEST(Gpu, ErrorsSayWhatThereIs) {
  const Status no_backend = CheckOrdinal({}, 0);
  EXPECT_EQ(no_backend.code(), StatusCode::kUnimplemented);
  EXPECT_TRUE(Has(no_backend.message(), "\"cuda:0\""));
  EXPECT_TRUE(Has(no_backend.message(), "\"cpu\""));

  const Status no_gpu = CheckOrdinal({.compiled = true, .problem = "the driver reports no GPU"}, 0);
  EXPECT_EQ(no_gpu.code(), StatusCode::kNotFound);
  EXPECT_TRUE(Has(no_gpu.message(), "this build has CUDA"));
  EXPECT_TRUE(Has(no_gpu.message(), "the driver reports no GPU"));

  EXPECT_TRUE(CheckOrdinal(TwoGpus(), 0).ok());
  const Status old = CheckOrdinal(TwoGpus(), 1);
  EXPECT_EQ(old.code(), StatusCode::kUnimplemented);
  EXPECT_TRUE(Has(old.message(), "7.5"));
  const Status beyond = CheckOrdinal(TwoGpus(), 2);
  EXPECT_EQ(beyond.code(), StatusCode::kNotFound);
  EXPECT_TRUE(Has(beyond.message(), "\"cuda:0\" (NVIDIA H100 80GB HBM3), \"cuda:1\""));
}

}  // namespace
}  // namespace tessera::backend
