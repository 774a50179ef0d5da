// Whether the op suite of this build ran on a GPU: says so when it did not.
#include "tessera/backend/gpu.h"
#include "tests/ops/harness.h"

namespace tessera::ops_test {
namespace {

TEST(GpuTargets, EveryUsableGpuIsOne) {
  const backend::GpuReport report = backend::ExamineGpus(false);
  if (report.gpus.empty()) GTEST_SKIP() << backend::Describe(report).front();
  for (const backend::GpuInfo& gpu : report.gpus) {
    const std::string name = "cuda:" + std::to_string(gpu.ordinal);
    int found = 0;
    for (const Target& target : AllTargets()) found += target.device == name && target.staged;
    EXPECT_EQ(found, backend::CheckOrdinal(report, gpu.ordinal).ok() ? 1 : 0) << name;
  }
}

}  // namespace
}  // namespace tessera::ops_test
