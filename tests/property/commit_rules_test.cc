// Oracles of single commit rules (methods, section 15) on the golden models in fp32.
#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using golden::Load;

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

}  // namespace
}  // namespace tessera::property
