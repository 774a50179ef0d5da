// Oracles of the cache policies and of the drift meter (methods, section 15) on golden models in
// fp32, where "equal" means bit for bit.
#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using decode::ForwardKind;
using golden::Load;

const char* const kRules[] = {"threshold=0.6", "factor=1.2", "quota=12", "entropy_bounded=0.8"};

void ExpectEqual(const Outcome& run, const Outcome& reference, const std::string& what) {
  EXPECT_EQ(run.commits, reference.commits) << what;
  EXPECT_EQ(run.completion.confidence, reference.completion.confidence) << what;
}

TEST(ApproximateCache, RecomputingEverythingEqualsNoCache) {  // oracle 3
  for (const char* name : {"llada", "llada_gqa_tied", "dream"}) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    for (const char* rule : kRules) {
      const std::string base = std::string(rule) + ",block=8";
      const Outcome none = RunAlone(loaded, {.strategy = base});
      for (const char* cache :
           {"dkv,refresh=1", "dkv_greedy,refresh=1", "recap,local=0",
            "vicinity,before=999,after=999,warmup=0", "vicinity,warmup=999", "dual,refresh=1"}) {
        const std::string strategy = base + ",cache=" + cache;
        ExpectEqual(RunAlone(loaded, {.strategy = strategy}), none, name + (": " + strategy));
      }
    }
  }
}

TEST(ApproximateCache, RecomputingEverythingEqualsNoCacheWithHolesAndGuidance) {
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  const int32_t mask = loaded.model->traits().mask_id;
  const std::vector<int32_t> prompt = {5, mask, mask, 9, 10, mask, 12, mask, 3, 44};
  for (const char* cache : {"dkv,refresh=1", "vicinity,before=999,after=999", "recap,local=0"}) {
    const Job none{.strategy = "threshold=0.6,guidance=1", .prompt = prompt};
    const Job with{.strategy = none.strategy + ",cache=" + cache, .prompt = prompt};
    ExpectEqual(RunAlone(loaded, with), RunAlone(loaded, none), cache);
  }
}

TEST(ApproximateCache, ReusesRowsAndCountsThem) {
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  const Outcome none = RunAlone(loaded, {.strategy = "threshold=1.5,block=8"});
  EXPECT_EQ(none.completion.metrics.reused, 0);
  EXPECT_EQ(none.completion.metrics.rows, 24 * 32);
  for (const char* cache : {"prefix", "dual", "vicinity,before=2,after=2", "dkv",
                            "dkv,variant=prefill", "dkv,variant=pd", "dkv_greedy", "recap"}) {
    const Outcome run =
        RunAlone(loaded, {.strategy = std::string("threshold=1.5,block=8,cache=") + cache});
    const engine::Metrics& metrics = run.completion.metrics;
    EXPECT_LT(metrics.rows, none.completion.metrics.rows) << cache;
    EXPECT_GT(metrics.reused, 0) << cache;
    EXPECT_EQ(metrics.rows + metrics.reused, none.completion.metrics.rows)
        << cache << ": every row of the canvas is computed or reused";
    EXPECT_EQ(metrics.total_forwards(), 24) << cache;
  }
}

TEST(Dkv, StoresADecidedRowOneStepLate) {
  // One token a step: a step recomputes what is undecided and what the last step decided.
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  std::vector<int32_t> rows;
  for (const char* variant : {"decode,refresh=999", "prefill", "pd,refresh=999"}) {
    const Outcome run = RunAlone(
        loaded, {.strategy = std::string("threshold=1.5,block=24,cache=dkv,variant=") + variant});
    rows.push_back(static_cast<int32_t>(run.completion.metrics.rows));
  }
  // Prompt 8, canvas 32. Step 0 computes all; step k of 1..23 the 24 - k undecided and one more.
  EXPECT_EQ(rows[0], 32 + 23 * 24 / 2 + 23);
  EXPECT_EQ(rows[1], 32 + 23 * 24) << "given rows once, the rest in every step";
  EXPECT_EQ(rows[2], rows[0]) << "without refreshes the given rows are all that differs";
  const Outcome pd =
      RunAlone(loaded, {.strategy = "threshold=1.5,block=24,cache=dkv,variant=pd,refresh=8"});
  // Steps 8 and 16 recompute the decided rows too.
  EXPECT_EQ(pd.completion.metrics.rows, rows[0] + (8 - 1) + (16 - 1));
}

TEST(DkvGreedy, StepsCostAFewRows) {
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  const Outcome run = RunAlone(
      loaded, {.strategy = "quota,remasking=random,block=24,cache=dkv_greedy,neighbours=4"});
  EXPECT_EQ(run.forwards(ForwardKind::kFull), 12);
  EXPECT_EQ(run.forwards(ForwardKind::kWindow), 12);
  // Scheduled, its neighbours, and the row decided before.
  EXPECT_LE(run.completion.metrics.rows, 12 * 32 + 12 * (1 + 4 + 1));
}

TEST(Recap, AlternatesFullAndLocalSteps) {
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  const Outcome run = RunAlone(
      loaded, {.strategy = "threshold=1.5,block=24,cache=recap,local=2,group=3,pre_full=3"});
  std::vector<ForwardKind> expected(3, ForwardKind::kFull);
  for (int i = 0; i < 7; ++i) {
    expected.insert(expected.end(),
                    {ForwardKind::kWindow, ForwardKind::kWindow, ForwardKind::kFull});
  }
  EXPECT_EQ(run.kinds, expected);
  // A floor that nothing reaches returns to a full step after every local one.
  const Outcome sunk =
      RunAlone(loaded, {.strategy = "threshold=1.5,block=24,cache=recap,local=9,group=9,floor=1"});
  EXPECT_EQ(sunk.forwards(ForwardKind::kFull), 12);
}

TEST(Drift, MeasuringChangesNothing) {
  for (const char* name : {"llada", "dream"}) {
    const golden::Loaded loaded = Load(name, ops::WeightType::kF32);
    for (const char* cache :
         {"dual", "prefix", "dkv", "dkv_greedy", "recap", "vicinity,before=1"}) {
      const std::string base = std::string("threshold=0.6,block=8,guidance=0.5,cache=") + cache;
      const Outcome plain = RunAlone(loaded, {.strategy = base});
      const Outcome measured = RunAlone(loaded, {.strategy = base + ",drift=5"});
      ExpectEqual(measured, plain, base);
      const engine::Metrics& metrics = measured.completion.metrics;
      EXPECT_EQ(plain.completion.metrics.drift_steps, 0);
      EXPECT_EQ(metrics.rows - metrics.probes, plain.completion.metrics.rows) << base;
      EXPECT_EQ(metrics.reused, plain.completion.metrics.reused) << base;
    }
  }
}

TEST(Drift, IsZeroWhereNothingIsReusedAndPositiveWhereStaleRowsAre) {
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  const Outcome fresh =
      RunAlone(loaded, {.strategy = "threshold=1.5,block=8,cache=dual,refresh=1,drift=4"});
  EXPECT_EQ(fresh.completion.metrics.drift_steps, 0);
  const Outcome stale = RunAlone(loaded, {.strategy = "threshold=1.5,block=24,cache=dual,drift=4"});
  EXPECT_EQ(stale.completion.metrics.drift_steps, 23);
  EXPECT_GT(stale.completion.metrics.drift_max, 1e-4);
  EXPECT_LE(stale.completion.metrics.drift_max, 1);
  // Nothing decided, nothing changed: the shadow of a reused row equals its baseline.
  const Outcome first = RunAlone(
      loaded,
      {.strategy = "threshold=1.5,block=1,cache=dkv,refresh=999,drift=4", .max_new_tokens = 1});
  EXPECT_EQ(first.completion.metrics.total_forwards(), 1);
}

TEST(Drift, RefreshesWhenItReachesTheLimit) {
  const golden::Loaded loaded = Load("llada", ops::WeightType::kF32);
  const auto full = [&](const char* limit) {
    return RunAlone(loaded, {.strategy = std::string("threshold=1.5,block=24,cache=dual,drift=4,"
                                                     "drift_refresh=") +
                                         limit})
        .forwards(ForwardKind::kFull);
  };
  EXPECT_EQ(full("0"), 1);
  EXPECT_EQ(full("1"), 1) << "never reached";
  EXPECT_EQ(full("1e-9"), 12) << "every reuse is followed by a full forward";
}

}  // namespace
}  // namespace tessera::property
