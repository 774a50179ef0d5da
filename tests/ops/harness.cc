#include "tests/ops/harness.h"

#include <bit>
#include <cmath>
#include <numbers>
#include <ostream>

#include "tessera/backend/gpu.h"
#include "tessera/backend/registry.h"
#include "tests/ops/staged_device.h"

namespace tessera::ops_test {
namespace {

constexpr size_t kGuard = 32;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

}  // namespace

std::vector<Target> TargetsWithoutRef() {
  std::vector<Target> targets;
  for (const std::string& isa : backend::AvailableIsas()) {
    for (const int threads : {1, 3}) {
      targets.push_back({"cpu_" + isa + "_" + std::to_string(threads), "cpu", isa, threads});
    }
  }
  const size_t of_cpu = targets.size();
  const backend::GpuReport report = backend::ExamineGpus(false);
  for (const backend::GpuInfo& gpu : report.gpus) {
    if (!backend::CheckOrdinal(report, gpu.ordinal).ok()) continue;
    const std::string ordinal = std::to_string(gpu.ordinal);
    targets.push_back({"cuda_" + ordinal, "cuda:" + ordinal, "auto", 1, true});
  }
  if (targets.size() == of_cpu) targets.push_back({"cpu_staged", "cpu", "auto", 1, true});
  return targets;
}

std::vector<Target> AllTargets() {
  std::vector<Target> targets = TargetsWithoutRef();
  targets.insert(targets.begin(), {"ref", "ref", "auto", 1});
  return targets;
}

std::string TargetName(const testing::TestParamInfo<Target>& info) { return info.param.name; }

void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

std::unique_ptr<ops::Device> Make(const Target& target) {
  auto device =
      backend::MakeDevice({.name = target.device, .isa = target.isa, .threads = target.threads});
  TESSERA_CHECK(device.ok());
  return target.staged ? MakeStagedDevice(std::move(*device)) : std::move(*device);
}

std::vector<ops::KvType> KvTypes(const ops::Device& device) {
  std::vector<ops::KvType> types;
  for (const auto type : {ops::KvType::kF32, ops::KvType::kBF16, ops::KvType::kInt8}) {
    if (device.HoldsKv(type)) types.push_back(type);
  }
  return types;
}

std::unique_ptr<ops::Device> MakeRef() { return Make({"ref", "ref", "auto", 1}); }

std::vector<float> Normals(size_t count, uint64_t salt, float scale) {
  std::vector<float> values(count);
  const RngKey key = {.seed = salt};
  for (size_t i = 0; i < count; ++i) {  // Box-Muller
    const auto index = static_cast<uint32_t>(2 * i);
    const double u = Uniform(key, RngPurpose::kTest, index);
    const double angle = 2 * std::numbers::pi * Uniform(key, RngPurpose::kTest, index + 1);
    values[i] = static_cast<float>(scale * std::sqrt(-2 * std::log(u)) * std::cos(angle));
  }
  return values;
}

int32_t RandomInt(uint64_t salt, int64_t index, int64_t bound) {
  const double u =
      Uniform({.seed = salt, .position = 1}, RngPurpose::kTest, static_cast<uint32_t>(index));
  return static_cast<int32_t>(u * static_cast<double>(bound));
}

Floats::Floats(size_t count, size_t misalign)
    : count_(count), offset_(0), storage_(count + 2 * kGuard + 16, kNaN) {
  const auto address = reinterpret_cast<uintptr_t>(storage_.data() + kGuard);
  offset_ = kGuard + (64 - address % 64) % 64 / sizeof(float) + misalign;
}

Floats::Floats(const std::vector<float>& values, size_t misalign)
    : Floats(values.size(), misalign) {
  std::copy(values.begin(), values.end(), data());
}

std::vector<float> Floats::values() const {
  return {storage_.begin() + offset_, storage_.begin() + offset_ + count_};
}

bool Floats::GuardsIntact() const {
  for (size_t i = 0; i < storage_.size(); ++i) {
    if ((i < offset_ || i >= offset_ + count_) && !std::isnan(storage_[i])) return false;
  }
  return true;
}

testing::AssertionResult Near(const std::vector<float>& expected, const std::vector<float>& actual,
                              Tolerance tolerance) {
  if (expected.size() != actual.size()) {
    return testing::AssertionFailure() << actual.size() << " values, not " << expected.size();
  }
  double error = 0, norm = 0, max_error = 0, max_value = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(expected[i])) {
      const bool same = std::isnan(expected[i]) ? std::isnan(actual[i]) : expected[i] == actual[i];
      if (same) continue;
      return testing::AssertionFailure()
             << "[" << i << "] is " << actual[i] << ", not " << expected[i];
    }
    const double difference = std::fabs(double{actual[i]} - expected[i]);
    if (!(difference < std::numeric_limits<double>::infinity())) {
      return testing::AssertionFailure()
             << "[" << i << "] is " << actual[i] << ", not " << expected[i];
    }
    error += difference * difference;
    norm += double{expected[i]} * expected[i];
    max_error = std::max(max_error, difference);
    max_value = std::max(max_value, std::fabs(double{expected[i]}));
  }
  const double relative = std::sqrt(error);
  if (!(relative <= tolerance.relative * std::sqrt(norm)) ||
      !(max_error <= tolerance.max_abs * max_value)) {
    return testing::AssertionFailure() << "relative error " << relative / std::sqrt(norm)
                                       << ", largest " << max_error / max_value;
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult BitEqual(const std::vector<float>& expected,
                                  const std::vector<float>& actual) {
  if (expected.size() != actual.size()) {
    return testing::AssertionFailure() << actual.size() << " values, not " << expected.size();
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::bit_cast<uint32_t>(expected[i]) != std::bit_cast<uint32_t>(actual[i])) {
      return testing::AssertionFailure()
             << "[" << i << "] is " << actual[i] << ", not " << expected[i];
    }
  }
  return testing::AssertionSuccess();
}

std::unique_ptr<ops::Matrix> PackFloats(ops::Device& device, const std::vector<float>& values,
                                        int64_t out, int64_t in, ops::WeightType type) {
  const TensorView view = {.data = reinterpret_cast<const std::byte*>(values.data()),
                           .dtype = DType::kF32,
                           .shape = {out, in}};
  auto matrix = device.Pack({.parts = {view}, .format = {.type = type}});
  TESSERA_CHECK(matrix.ok());
  return std::move(*matrix);
}

}  // namespace tessera::ops_test
