// Shared parts of the op suite: devices under test, random and poisoned buffers, comparison.
#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tessera/base/rng.h"
#include "tessera/ops/device.h"
#include "tests/ops/tolerances.h"

namespace tessera::ops_test {

// What the suite runs on: "ref", "cpu" at each level this machine has, with 1 and 3 threads, and
// each GPU, or where there is none the same staging around "cpu".
struct Target {
  std::string name;  // "cpu_avx2_3", "cuda_0"
  std::string device, isa;
  int threads;
  bool staged = false;  // device memory is not the host's: see staged_device.h
};
std::vector<Target> AllTargets();
std::vector<Target> TargetsWithoutRef();
std::string TargetName(const testing::TestParamInfo<Target>& info);
void PrintTo(const Target& target, std::ostream* out);

std::unique_ptr<ops::Device> Make(const Target& target);
std::unique_ptr<ops::Device> MakeRef();
// K/V types that the device can hold.
std::vector<ops::KvType> KvTypes(const ops::Device& device);

// Reproducible floats; `salt` separates buffers of one test.
std::vector<float> Normals(size_t count, uint64_t salt, float scale = 1);
int32_t RandomInt(uint64_t salt, int64_t index, int64_t bound);  // in [0, bound)

// Floats that start `misalign` elements past a 64-byte border, full of NaN, with guards behind.
class Floats {
 public:
  explicit Floats(size_t count, size_t misalign = 0);
  Floats(const std::vector<float>& values, size_t misalign);
  float* data() { return storage_.data() + offset_; }
  size_t size() const { return count_; }
  std::vector<float> values() const;
  // Whether the floats before and behind are still poisoned.
  bool GuardsIntact() const;

 private:
  size_t count_, offset_;
  std::vector<float> storage_;
};

// NaN must meet NaN and infinity the same infinity; finite values meet the tolerance.
testing::AssertionResult Near(const std::vector<float>& expected, const std::vector<float>& actual,
                              Tolerance tolerance);
testing::AssertionResult BitEqual(const std::vector<float>& expected,
                                  const std::vector<float>& actual);

// A matrix of f32 values [out, in] packed by `device`.
std::unique_ptr<ops::Matrix> PackFloats(ops::Device& device, const std::vector<float>& values,
                                        int64_t out, int64_t in,
                                        ops::WeightType type = ops::WeightType::kF32);

}  // namespace tessera::ops_test
