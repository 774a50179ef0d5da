#include "tessera/backend/registry.h"

#include <gtest/gtest.h>

#include "tessera/backend/gpu.h"

namespace tessera::backend {
namespace {

std::string ErrorOf(const DeviceOptions& options, StatusCode code) {
  const auto device = MakeDevice(options);
  EXPECT_FALSE(device.ok());
  EXPECT_EQ(device.status().code(), code);
  return device.status().message();
}

TEST(Registry, MakesEveryAvailableLevel) {
  const std::vector<std::string> isas = AvailableIsas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), "generic");
  for (const std::string& isa : isas) {
    const auto device = MakeDevice({.name = "cpu", .isa = isa, .threads = 1});
    ASSERT_TRUE(device.ok());
    EXPECT_EQ((*device)->name(), "cpu:" + isa);
  }
  const auto automatic = MakeDevice({});
  ASSERT_TRUE(automatic.ok());
  EXPECT_EQ((*automatic)->name(), "cpu:" + isas.back());
  const auto ref = MakeDevice({.name = "ref"});
  ASSERT_TRUE(ref.ok());
  EXPECT_EQ((*ref)->name(), "ref");
}

TEST(Registry, RefusesWhatItDoesNotKnow) {
  EXPECT_NE(ErrorOf({.name = "tpu"}, StatusCode::kInvalidArgument).find("\"cpu\""),
            std::string::npos);
  EXPECT_NE(ErrorOf({.name = ""}, StatusCode::kInvalidArgument).find("expected"),
            std::string::npos);
  EXPECT_NE(ErrorOf({.isa = "sse9"}, StatusCode::kInvalidArgument).find("generic"),
            std::string::npos);
  EXPECT_NE(ErrorOf({.threads = -1}, StatusCode::kInvalidArgument).find("threads"),
            std::string::npos);
}

TEST(Registry, MakesGpusThatThereAre) {
  const GpuReport report = ExamineGpus(false);
  for (const GpuInfo& gpu : report.gpus) {
    const std::string name = "cuda:" + std::to_string(gpu.ordinal);
    const auto device = MakeDevice({.name = name});
    EXPECT_EQ(device.ok(), CheckOrdinal(report, gpu.ordinal).ok());
    if (!device.ok()) continue;
    EXPECT_EQ((*device)->name(), name);
  }
  const auto count = static_cast<int32_t>(report.gpus.size());
  const auto none = MakeDevice({.name = "cuda:" + std::to_string(count)});
  EXPECT_EQ(none.status().message(), CheckOrdinal(report, count).message());
  EXPECT_NE(ErrorOf({.name = "cuda:x"}, StatusCode::kInvalidArgument).find("cuda:N"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::backend
