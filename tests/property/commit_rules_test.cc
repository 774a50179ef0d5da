// Oracles of single commit rules (methods, section 15) on the golden models in fp32.
#include <fmt/ranges.h>

#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using golden::Load;

std::vector<float> Zeros(size_t count) { return std::vector<float>(count); }

constexpr const char* kModels[] = {"llada", "dream", "sdar"};

TEST(Credit, AlphaZeroEqualsThreshold) {  // oracle 7
  for (const char* name : kModels) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    const Outcome threshold = RunAlone(loaded, {.strategy = "threshold=0.6"});
    const Outcome credit = RunAlone(loaded, {.strategy = "credit=0.6,alpha=0"});
    EXPECT_EQ(credit.commits, threshold.commits) << name;
    EXPECT_EQ(credit.completion.confidence, threshold.completion.confidence) << name;
  }
}

TEST(Credit, EightSlotsEqualAllSlots) {  // oracle 7
  for (const char* name : kModels) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    const Outcome sparse = RunAlone(loaded, {.strategy = "credit=0.6,alpha=3"});
    const Outcome dense = RunAlone(loaded, {.strategy = "credit=0.6,alpha=3,slots=0"});
    const Outcome plain = RunAlone(loaded, {.strategy = "threshold=0.6"});
    EXPECT_EQ(sparse.commits, dense.commits) << name;
    EXPECT_LE(sparse.commits.size(), plain.commits.size()) << name;
  }
}

TEST(Rules, TheirStrictestSettingsCommitOneTokenPerStep) {  // oracle 1
  for (const char* name : kModels) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    const Outcome one = RunAlone(loaded, {.strategy = "quota"});
    for (const char* strategy : {"local_leap,relaxed=1.5,anchor=1.5", "hierarchical=1.5,low=1.5",
                                 "credit=1.5,alpha=0", "klass=1.5"}) {
      EXPECT_EQ(RunAlone(loaded, {.strategy = strategy}).commits, one.commits)
          << name << " " << strategy;
    }
    const Outcome entropy = RunAlone(loaded, {.strategy = "entropy_threshold=-1"});
    for (const auto& commits : entropy.commits) EXPECT_LE(commits.size(), 1u) << name;
  }
}

// A filter of zeros says 0.5 of every position.
Result<decode::Artefact> Undecided(const std::string&, const std::string&) {
  return decode::Artefact{.path = "zeros",
                          .tensors = {{"fc1.weight", {.shape = {2, 8}, .values = Zeros(16)}},
                                      {"fc1.bias", {.shape = {2}, .values = Zeros(2)}},
                                      {"fc2.weight", {.shape = {8, 2}, .values = Zeros(16)}},
                                      {"fc2.bias", {.shape = {8}, .values = Zeros(8)}}}};
}

TEST(Learn2Pd, AFilterThatAcceptsNothingOrEverything) {  // oracle 1
  for (const char* name : kModels) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    const Outcome none =
        RunAlone(loaded, {.strategy = "learn2pd=zeros,accept=0.5", .load = Undecided});
    EXPECT_EQ(none.commits, RunAlone(loaded, {.strategy = "quota"}).commits) << name;
    const Outcome all =
        RunAlone(loaded, {.strategy = "learn2pd=zeros,accept=0.49", .load = Undecided});
    EXPECT_EQ(all.commits, RunAlone(loaded, {.strategy = "threshold=0"}).commits) << name;
  }
}

// Aiming at what one token per step gives, the oracle arrives there in no more forwards.
TEST(Oracle, ReachesItsReferenceInFewerForwards) {
  for (const char* name : kModels) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    const Outcome one = RunAlone(loaded, {.strategy = "quota"});
    const auto begin = one.canvas().begin() + static_cast<std::ptrdiff_t>(Job().prompt.size());
    const Outcome oracle = RunAlone(
        loaded, {.strategy = fmt::format("oracle={}", fmt::join(begin, one.canvas().end(), "+"))});
    EXPECT_EQ(oracle.canvas(), one.canvas()) << name;
    EXPECT_LT(oracle.completion.metrics.total_forwards(), one.completion.metrics.total_forwards())
        << name;
  }
}

}  // namespace
}  // namespace tessera::property
