#include "tessera/backend/registry.h"

#include <gtest/gtest.h>

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

TEST(Registry, NamesTheMissingBackend) {
  const std::string message = ErrorOf({.name = "cuda:0"}, StatusCode::kUnimplemented);
  EXPECT_NE(message.find("cuda:0"), std::string::npos);
  EXPECT_NE(message.find("cpu"), std::string::npos);
}

}  // namespace
}  // namespace tessera::backend
