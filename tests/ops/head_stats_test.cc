// HeadStats: against the reference on random and adversarial rows, and the reference itself against
// numbers worked out by hand.
#include <cmath>
#include <cstdlib>

#include "tests/ops/stats_harness.h"

namespace tessera::ops_test {
namespace {

using ops::FilterOrder;
using ops::RowRequest;
using ops::RowStats;
using ops::SamplingSpec;
using ops::TokenId;

constexpr float kInf = std::numeric_limits<float>::infinity();

testing::AssertionResult Close(const char* what, double expected, double actual, double limit) {
  if (std::isnan(expected) && std::isnan(actual)) return testing::AssertionSuccess();
  if (std::fabs(expected - actual) <= limit) return testing::AssertionSuccess();
  return testing::AssertionFailure() << what << " is " << actual << ", not " << expected;
}

void ExpectSame(const RowStats& want, const RowStats& got) {
  EXPECT_EQ(want.argmax, got.argmax);
  EXPECT_EQ(want.second, got.second);
  EXPECT_EQ(want.sampled, got.sampled);
  EXPECT_TRUE(Close("p1", want.p1, got.p1, kProbability));
  EXPECT_TRUE(Close("p2", want.p2, got.p2, kProbability));
  EXPECT_TRUE(Close("p_sampled", want.p_sampled, got.p_sampled, kProbability));
  EXPECT_TRUE(Close("entropy", want.entropy, got.entropy, kEntropy));
  EXPECT_TRUE(Close("lse", want.lse, got.lse, kLogProbability * (1 + std::fabs(want.lse))));
  ASSERT_EQ(want.p_probe.size(), got.p_probe.size());
  for (size_t i = 0; i < want.p_probe.size(); ++i) {
    EXPECT_TRUE(Close("p_probe", want.p_probe[i], got.p_probe[i], kProbability)) << i;
  }
  ASSERT_EQ(want.top.size(), got.top.size());
  for (size_t i = 0; i < want.top.size(); ++i) {
    EXPECT_EQ(want.top[i].first, got.top[i].first) << i;
    EXPECT_TRUE(Close("top", want.top[i].second, got.top[i].second,
                      kLogProbability * (1 + std::fabs(want.top[i].second))));
  }
}

// Rows that break careless reductions.
std::vector<std::vector<float>> Rows(size_t vocab) {
  std::vector<std::vector<float>> rows = {Normals(vocab, 31), Normals(vocab, 32, 3),
                                          Normals(vocab, 33, 12)};
  rows.push_back(std::vector<float>(vocab, 2.5f));   // all equal
  rows.push_back(std::vector<float>(vocab, -1e4f));  // all equal, far from 0
  rows.push_back(Normals(vocab, 34));
  rows.back()[vocab / 2] = 1e4f;              // one huge
  rows.push_back(Normals(vocab, 35, 5000));   // range of 1e4
  rows.push_back(Normals(vocab, 36, 1e-6f));  // nearly uniform
  rows.push_back(Normals(vocab, 37));         // ties for the top, far apart
  rows.back()[0] = rows.back()[vocab - 1] = rows.back()[vocab / 3] = 9;
  rows.push_back(std::vector<float>(vocab, 0));  // p1 about 0.9
  rows.back()[vocab - 1] = static_cast<float>(std::log(9.0 * static_cast<double>(vocab)));
  rows.push_back(std::vector<float>(vocab, 0));  // p1 about 1 - 1e-6
  rows.back()[vocab / 4] = static_cast<float>(std::log(1e6 * static_cast<double>(vocab)));
  std::vector<float> rounded = Normals(vocab, 38, 2);  // many ties everywhere
  for (float& logit : rounded) logit = std::round(logit);
  rows.push_back(rounded);
  return rows;
}

std::vector<SamplingSpec> Specs(size_t vocab) {
  const auto last = static_cast<TokenId>(vocab - 1);
  std::vector<TokenId> many;  // half of the vocabulary, unsorted, with repeats
  for (size_t i = 0; i < vocab; ++i) many.push_back(RandomInt(39, i, last + 1));
  std::vector<SamplingSpec> specs(1);
  const auto add = [&](auto edit) {
    SamplingSpec spec;
    edit(spec);
    specs.push_back(spec);
  };
  add([&](SamplingSpec& s) { s.temperature = 1; });
  add([&](SamplingSpec& s) {
    s.temperature = 0.1f;
    s.top_n = 5;
  });
  add([&](SamplingSpec& s) {
    s.temperature = 7;
    s.banned = {last, 0, 0};
  });
  add([&](SamplingSpec& s) {
    s.banned = many;
    s.top_n = 64;
  });
  add([&](SamplingSpec& s) {
    s.suppressed = {0, last};
    s.top_n = 1;
  });
  add([&](SamplingSpec& s) {
    s.suppressed = many;
    s.banned = {last / 2};
    s.temperature = 2;
  });
  add([&](SamplingSpec& s) {
    s.repetition_penalty = 1.3f;
    s.temperature = 1;
  });
  add([&](SamplingSpec& s) {
    s.repetition_penalty = 0.7f;
    s.banned = {1 % (last + 1)};
  });
  for (const bool filtered : {false, true}) {
    for (const float temperature : {0.0f, 0.2f, 1.0f, 1.7f}) {
      for (const auto order : {FilterOrder::kTopKTopP, FilterOrder::kTopPTopK}) {
        add([&](SamplingSpec& s) {
          s.stats_of_filtered = filtered;
          s.temperature = temperature;
          s.filter_order = order;
          s.top_k = 50;
          s.top_p = 0.9f;
          s.banned = {last};
        });
      }
      add([&](SamplingSpec& s) {
        s.stats_of_filtered = filtered;
        s.temperature = temperature;
        s.top_p = 0.37f;
        s.min_p = 0.05f;
      });
      add([&](SamplingSpec& s) {
        s.stats_of_filtered = filtered;
        s.temperature = temperature;
        s.top_k = 1;
        s.suppressed = {last / 3};
      });
      add([&](SamplingSpec& s) {
        s.stats_of_filtered = filtered;
        s.temperature = temperature;
        s.min_p = 0.5f;
        s.repetition_penalty = 1.1f;
        s.banned = many;
      });
      add([&](SamplingSpec& s) {
        s.stats_of_filtered = filtered;
        s.temperature = temperature;
      });
    }
  }
  return specs;
}

class HeadStats : public testing::TestWithParam<Target> {};

TEST_P(HeadStats, MatchesReference) {
  const auto ref = MakeRef();
  const auto device = Make(GetParam());
  for (const size_t vocab : {2, 17, 511, 512, 513, 2000}) {
    const std::vector<std::vector<float>> rows = Rows(vocab);
    const std::vector<SamplingSpec> specs = Specs(vocab);
    const auto last = static_cast<TokenId>(vocab - 1);
    const std::vector<TokenId> history = {0, last, last, last / 2, last / 3, 0};
    const std::vector<TokenId> probe = {last, 0, last / 3, 0};
    std::vector<RowRequest> requests;  // every spec on every row, in one batch
    for (size_t r = 0; r < rows.size(); ++r) {
      for (size_t s = 0; s < specs.size(); ++s) {
        RowRequest request = {.row = static_cast<int32_t>(r),
                              .guidance_row = -1,
                              .guidance_scale = 0,
                              .sampling = &specs[s],
                              .key = {.seed = 5 + (uint64_t{s} << 33),
                                      .position = static_cast<int32_t>(r),
                                      .step = -1},
                              .history = history,
                              .probe = {}};
        if (s % 3 == 0) request.probe = probe;
        if (s % 5 == 1 && r < 3) {  // rows of 1e4 would leave nothing of u in f32
          request.guidance_row = static_cast<int32_t>((r + 2) % 3);
          request.guidance_scale = 0.5f;
        }
        requests.push_back(request);
      }
    }
    const std::vector<RowStats> want = LogitRows(*ref, rows).Stats(requests);
    const std::vector<RowStats> got = LogitRows(*device, rows).Stats(requests);
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "vocab " << vocab << ", row " << i / specs.size()
                                      << ", spec " << i % specs.size());
      ExpectSame(want[i], got[i]);
      if (HasFailure()) return;
    }
  }
}

TEST_P(HeadStats, NoRequestsAndOneId) {
  const auto device = Make(GetParam());
  LogitRows rows(*device, {{3.5f}});
  EXPECT_TRUE(rows.Stats({}).empty());
  const SamplingSpec spec = {.temperature = 1};
  const RowStats stats = SingleRow(*device, {3.5f}, spec);
  EXPECT_EQ(stats.argmax, 0);
  EXPECT_EQ(stats.second, -1);
  EXPECT_EQ(stats.sampled, 0);
  EXPECT_EQ(stats.p1, 1);
  EXPECT_EQ(stats.p2, 0);
  EXPECT_EQ(stats.entropy, 0);
  EXPECT_FLOAT_EQ(stats.lse, 3.5f);
}

TEST_P(HeadStats, BannedCountsSuppressedDoesNot) {
  const auto device = Make(GetParam());
  const std::vector<float> logits = {std::log(4.f), std::log(3.f), std::log(2.f), std::log(1.f)};
  const std::vector<TokenId> probe = {0, 3};
  SamplingSpec spec = {.banned = {0}};
  spec.top_n = 9;
  RowStats stats = SingleRow(*device, logits, spec, {.probe = probe});
  EXPECT_EQ(stats.argmax, 1);
  EXPECT_EQ(stats.second, 2);
  EXPECT_NEAR(stats.p1, 0.3, 1e-6);
  EXPECT_NEAR(stats.p2, 0.2, 1e-6);
  EXPECT_NEAR(stats.p_probe[0], 0.4, 1e-6);
  EXPECT_NEAR(stats.p_probe[1], 0.1, 1e-6);
  EXPECT_NEAR(stats.lse, std::log(10.0), 1e-6);
  EXPECT_NEAR(stats.entropy, 1.2798542, 1e-6);
  ASSERT_EQ(stats.top.size(), 3u);
  EXPECT_EQ(stats.top[0].first, 1);
  EXPECT_NEAR(stats.top[2].second, std::log(0.1), 1e-6);

  spec = {.suppressed = {0}};
  stats = SingleRow(*device, logits, spec, {.probe = probe});
  EXPECT_EQ(stats.argmax, 1);
  EXPECT_NEAR(stats.p1, 0.5, 1e-6);
  EXPECT_EQ(stats.p_probe[0], 0);
  EXPECT_NEAR(stats.lse, std::log(6.0), 1e-6);

  spec = {.banned = {0, 1, 2, 3}};
  stats = SingleRow(*device, logits, spec);
  EXPECT_EQ(stats.argmax, -1);
  EXPECT_EQ(stats.sampled, -1);
  EXPECT_EQ(stats.p1, 0);
  spec = {.temperature = 1, .banned = {0}, .suppressed = {1, 3}};
  stats = SingleRow(*device, logits, spec);
  EXPECT_EQ(stats.argmax, 2);
  EXPECT_EQ(stats.second, -1);
  EXPECT_EQ(stats.sampled, 2);
}

TEST_P(HeadStats, PenaltyActsOncePerId) {
  const auto device = Make(GetParam());
  const SamplingSpec spec = {.repetition_penalty = 2};
  const std::vector<TokenId> history = {0, 0, 0, 1, 1};
  const std::vector<TokenId> probe = {0, 1, 2};
  const RowStats stats = SingleRow(*device, {4, -1, 1}, spec, {.history = history, .probe = probe});
  const double z = std::exp(2.0) + std::exp(-2.0) + std::exp(1.0);
  EXPECT_NEAR(stats.p_probe[0], std::exp(2.0) / z, 1e-6);
  EXPECT_NEAR(stats.p_probe[1], std::exp(-2.0) / z, 1e-6);
  EXPECT_NEAR(stats.p_probe[2], std::exp(1.0) / z, 1e-6);
  EXPECT_NEAR(stats.lse, std::log(z), 1e-6);
}

TEST_P(HeadStats, Guidance) {
  const auto device = Make(GetParam());
  SamplingSpec spec;
  const std::vector<TokenId> probe = {0, 1};
  LogitRows rows(*device, {{1, 0}, {0, 0.5f}});
  const RowStats stats = rows.Stats({{.row = 0,
                                      .guidance_row = 1,
                                      .guidance_scale = 2,
                                      .sampling = &spec,
                                      .key = {},
                                      .history = {},
                                      .probe = probe}})[0];
  // u + 3 (c - u) = {3, -1}
  EXPECT_NEAR(stats.p1, 1 / (1 + std::exp(-4.0)), 1e-6);
  EXPECT_NEAR(stats.lse, std::log(std::exp(3.0) + std::exp(-1.0)), 1e-6);
}

// p = 0.4 0.3 0.2 0.1 in scrambled order.
struct FilterCase {
  const char* name;
  SamplingSpec spec;
  std::vector<double> kept;  // probabilities of ids 0..3 after filtering
};

TEST_P(HeadStats, Filters) {
  const auto device = Make(GetParam());
  const std::vector<float> logits = {std::log(2.f), std::log(4.f), std::log(1.f), std::log(3.f)};
  const auto spec = [](int k, float p, float min_p, FilterOrder order) {
    SamplingSpec s;
    s.temperature = 1;
    s.top_k = k;
    s.top_p = p;
    s.min_p = min_p;
    s.filter_order = order;
    s.stats_of_filtered = true;
    return s;
  };
  const auto kp = FilterOrder::kTopKTopP, pk = FilterOrder::kTopPTopK;
  const FilterCase cases[] = {
      {"top-k 2", spec(2, 1, 0, kp), {0, 4. / 7, 0, 3. / 7}},
      {"top-k above vocabulary", spec(99, 1, 0, kp), {.2, .4, .1, .3}},
      {"top-p keeps the crossing id", spec(0, 0.5f, 0, kp), {0, 4. / 7, 0, 3. / 7}},
      {"top-p below the first", spec(0, 0.1f, 0, kp), {0, 1, 0, 0}},
      {"top-p 0 keeps one", spec(0, 0, 0, kp), {0, 1, 0, 0}},
      {"top-p after top-k renormalises", spec(3, 0.75f, 0, kp), {0, 4. / 7, 0, 3. / 7}},
      {"top-k after top-p", spec(3, 0.75f, 0, pk), {2. / 9, 4. / 9, 0, 3. / 9}},
      {"min-p", spec(0, 1, 0.45f, kp), {2. / 9, 4. / 9, 0, 3. / 9}},
      {"min-p after top-k", spec(2, 1, 0.9f, kp), {0, 1, 0, 0}},
  };
  for (const FilterCase& c : cases) {
    SCOPED_TRACE(c.name);
    const RowStats stats = SingleRow(*device, logits, c.spec, {.key = {.seed = 3}});
    double entropy = 0;
    for (const double p : c.kept) entropy -= p > 0 ? p * std::log(p) : 0;
    EXPECT_EQ(stats.argmax, 1);
    EXPECT_EQ(stats.second, 3);
    EXPECT_NEAR(stats.p1, c.kept[1], 1e-6);
    EXPECT_NEAR(stats.p2, c.kept[3], 1e-6);
    EXPECT_NEAR(stats.entropy, entropy, 2e-6);
    EXPECT_NEAR(stats.p_sampled, c.kept[stats.sampled], 1e-6);
    EXPECT_GT(stats.p_sampled, 0);
  }
  // Ties: exactly k survive, the lower ids first.
  SamplingSpec tied = spec(2, 1, 0, kp);
  for (int seed = 0; seed < 50; ++seed) {
    const RowStats stats =
        SingleRow(*device, {1, 2, 2, 2}, tied, {.key = {.seed = static_cast<uint64_t>(seed)}});
    EXPECT_TRUE(stats.sampled == 1 || stats.sampled == 2) << stats.sampled;
    EXPECT_NEAR(stats.p1, 0.5, 1e-6);
  }
  // Only banned ids survive: the choice falls back to the argmax, of filtered probability 0.
  SamplingSpec only_banned = spec(1, 1, 0, kp);
  only_banned.banned = {1};
  const RowStats stats = SingleRow(*device, logits, only_banned);
  EXPECT_EQ(stats.argmax, 3);
  EXPECT_EQ(stats.sampled, 3);
  EXPECT_EQ(stats.p1, 0);
  EXPECT_EQ(stats.p_sampled, 0);
}

TEST_P(HeadStats, InvalidRows) {
  const auto device = Make(GetParam());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<TokenId> probe = {1};
  for (const size_t vocab : {3, 1000}) {
    for (const float special : {nan, kInf, -nan}) {
      for (const bool filters : {false, true}) {
        for (const float temperature : {0.f, 1.f}) {
          std::vector<float> logits(vocab, 1);
          logits[vocab - 1] = special;
          SamplingSpec spec = {.temperature = temperature, .top_k = filters ? 2 : 0, .banned = {0}};
          spec.top_n = 3;
          const RowStats stats = SingleRow(*device, logits, spec, {.probe = probe});
          EXPECT_EQ(stats.argmax, 1);
          EXPECT_EQ(stats.second, 2);
          EXPECT_EQ(stats.sampled, 1);
          EXPECT_TRUE(std::isnan(stats.p1) && std::isnan(stats.p2) && std::isnan(stats.lse));
          EXPECT_TRUE(std::isnan(stats.entropy) && std::isnan(stats.p_sampled));
          EXPECT_TRUE(std::isnan(stats.p_probe.at(0)));
          EXPECT_TRUE(stats.top.empty());
        }
      }
    }
  }
  SamplingSpec all = {.temperature = 1, .suppressed = {0, 1, 2}};
  const RowStats stats = SingleRow(*device, {1, 2, 3}, all);
  EXPECT_EQ(stats.argmax, 0);
  EXPECT_TRUE(std::isnan(stats.p1));
  // A suppressed NaN is gone before anything looks at it.
  SamplingSpec one = {.suppressed = {1}};
  EXPECT_EQ(SingleRow(*device, {1, nan, 3}, one).argmax, 2);
}

TEST_P(HeadStats, MinusInfinityLogits) {
  const auto device = Make(GetParam());
  std::vector<float> logits(700, -kInf);
  logits[600] = 1;
  logits[3] = 1;
  const SamplingSpec spec = {.temperature = 1};
  const RowStats stats = SingleRow(*device, logits, spec);
  EXPECT_EQ(stats.argmax, 3);
  EXPECT_EQ(stats.second, 600);
  EXPECT_NEAR(stats.p1, 0.5, 1e-6);
  EXPECT_NEAR(stats.entropy, std::log(2.0), 1e-6);
  EXPECT_TRUE(stats.sampled == 3 || stats.sampled == 600);
}

INSTANTIATE_TEST_SUITE_P(Devices, HeadStats, testing::ValuesIn(AllTargets()), TargetName);

}  // namespace
}  // namespace tessera::ops_test
