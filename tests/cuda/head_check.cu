// Checks the statistics of the head (head_reducer.h) against ops::ref::Reduce and times the
// reduction. Logits are given exactly: an f32 head with one-hot hidden rows returns them unchanged.
//
//   cmake --build build/cuda --target head_check
//   head_check small   few cases, for compute-sanitizer
//   head_check check   all cases
//   head_check time    LLaDA-8B's head: 126464 ids of 4096 inputs
//   head_check         all cases, then the timings
#include <bit>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/ops/ref/ref_ops.h"
#include "tests/cuda/head_time.h"
#include "tests/cuda/need_gpu.h"
#include "tests/ops/tolerances.h"

namespace tessera::cuda {
namespace {

using ops::FilterOrder;
using ops::RowRequest;
using ops::RowStats;
using ops::SamplingSpec;
using ops::TokenId;
using Rows = std::vector<std::vector<float>>;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

void ExpectClose(double want, double got, double limit, const std::string& what) {
  Expect((std::isnan(want) && std::isnan(got)) || std::fabs(want - got) <= limit,
         what + ": " + std::to_string(got) + ", not " + std::to_string(want));
}

// A head that returns given logits, and the reducer under test.
class GivenLogits {
 public:
  GivenLogits(Rig& rig, const Rows& rows) : rig_(rig), rows_(rows), reducer_(rig.gpu) {
    const size_t in = rows.size(), vocab = rows[0].size();
    std::vector<float> head(vocab * in), hidden(in * in, 0.0f);
    for (size_t r = 0; r < in; ++r) {
      hidden[r * in + r] = 1;
      for (size_t v = 0; v < vocab; ++v) head[v * in + r] = rows[r][v];
    }
    head_ = Upload(rig, head);
    hidden_ = Upload(rig, hidden);
    view_ = {.format = {.type = ops::WeightType::kF32},
             .out = static_cast<int64_t>(vocab),
             .in = static_cast<int64_t>(in),
             .data = head_.data()};
  }

  // Of the first `rows` rows.
  std::vector<RowStats> Stats(const std::vector<RowRequest>& requests, size_t rows) {
    std::vector<RowStats> stats(requests.size());
    for (RowStats& row : stats) row.p1 = row.entropy = -1, row.top = {{7, 7.f}};  // stale
    const Status status = reducer_.Run(rig_.stream.get(), view_,
                                       {.rows = static_cast<int64_t>(rows),
                                        .hidden = hidden_.as<float>(),
                                        .head = nullptr,
                                        .requests = requests,
                                        .stats = stats});
    Expect(status.ok(), std::string(status.message()));
    return stats;
  }

  // Recorded as a graph that runs twice.
  std::vector<RowStats> RecordedStats(const std::vector<RowRequest>& requests) {
    std::vector<RowStats> stats(requests.size());
    const HeadRows x = {.packed = nullptr, .hidden = hidden_.as<float>()};
    Stream stream = rig_.stream.get();
    bool ok = reducer_.Prepare(stream, view_, view_.in, requests).ok();
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    ok &= cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
    ok &= reducer_.Enqueue(stream, x).ok();
    ok &= cudaStreamEndCapture(stream, &graph) == cudaSuccess;
    ok &= cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess;
    for (int run = 0; run < 2; ++run) ok &= cudaGraphLaunch(executable, stream) == cudaSuccess;
    ok &= Synchronize(stream).ok() && reducer_.Collect(stats).ok();
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    Expect(ok, "recording as a graph");
    return stats;
  }

  RowStats Reference(const RowRequest& request) const {
    return ops::ref::Reduce(rows_[static_cast<size_t>(request.row)],
                            request.guidance_row < 0
                                ? std::span<const float>()
                                : rows_[static_cast<size_t>(request.guidance_row)],
                            request);
  }

 private:
  Rig& rig_;
  const Rows& rows_;
  HeadReducer reducer_;
  DeviceMemory head_, hidden_;
  WeightView view_;
};

// `slack`: by how much one id more or less at the border of top-p may change the entropy. Rounding
// of the mass decides for it where every id has next to none.
void ExpectSame(const RowStats& want, const RowStats& got, double slack, const std::string& name) {
  using namespace ops_test;
  Expect(want.argmax == got.argmax, name + ": argmax");
  Expect(want.second == got.second, name + ": second");
  Expect(want.sampled == got.sampled, name + ": sampled " + std::to_string(got.sampled) + ", not " +
                                          std::to_string(want.sampled));
  ExpectClose(want.p1, got.p1, kProbability, name + ": p1");
  ExpectClose(want.p2, got.p2, kProbability, name + ": p2");
  ExpectClose(want.p_sampled, got.p_sampled, kProbability, name + ": p_sampled");
  ExpectClose(want.entropy, got.entropy, kEntropy + slack, name + ": entropy");
  ExpectClose(want.lse, got.lse, kLogProbability * (1 + std::fabs(want.lse)), name + ": lse");
  Expect(want.p_probe.size() == got.p_probe.size(), name + ": number of probes");
  for (size_t i = 0; i < std::min(want.p_probe.size(), got.p_probe.size()); ++i) {
    ExpectClose(want.p_probe[i], got.p_probe[i], kProbability, name + ": probe");
  }
  Expect(want.top.size() == got.top.size(), name + ": length of the list");
  for (size_t i = 0; i < std::min(want.top.size(), got.top.size()); ++i) {
    Expect(want.top[i].first == got.top[i].first, name + ": list");
    ExpectClose(want.top[i].second, got.top[i].second,
                kLogProbability * (1 + std::fabs(want.top[i].second)), name + ": list");
  }
}

bool SameBits(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

void ExpectEqual(const RowStats& a, const RowStats& b, const std::string& name) {
  bool same = a.argmax == b.argmax && a.second == b.second && a.sampled == b.sampled &&
              SameBits(a.p1, b.p1) && SameBits(a.p2, b.p2) && SameBits(a.entropy, b.entropy) &&
              SameBits(a.lse, b.lse) && SameBits(a.p_sampled, b.p_sampled) &&
              a.p_probe.size() == b.p_probe.size() && a.top.size() == b.top.size();
  for (size_t i = 0; same && i < a.p_probe.size(); ++i) same = SameBits(a.p_probe[i], b.p_probe[i]);
  for (size_t i = 0; same && i < a.top.size(); ++i) {
    same = a.top[i].first == b.top[i].first && SameBits(a.top[i].second, b.top[i].second);
  }
  Expect(same, name + ": bits differ");
}

Rows AdversarialRows(size_t vocab, std::mt19937& random) {
  Rows rows = {Normals(vocab, 1, random), Normals(vocab, 3, random), Normals(vocab, 12, random)};
  rows.emplace_back(vocab, -1e4f);            // all equal, far from 0
  rows.push_back(Normals(vocab, 2, random));  // many ties, some of them of -0 and 0
  for (float& logit : rows.back()) logit = std::round(logit);
  rows.push_back(Normals(vocab, 1, random));  // ties for the top, far apart
  rows.back()[0] = rows.back()[vocab - 1] = rows.back()[vocab / 3] = 9;
  rows.push_back(Normals(vocab, 5000, random));
  rows.emplace_back(vocab, 0.0f);  // p1 about 1 - 1e-6
  rows.back()[vocab / 4] = static_cast<float>(std::log(1e6 * static_cast<double>(vocab)));
  return rows;
}

std::vector<SamplingSpec> AllSpecs(size_t vocab, std::mt19937& random) {
  const auto last = static_cast<TokenId>(vocab - 1);
  std::vector<TokenId> many;  // unsorted, with repeats
  for (size_t i = 0; i < std::min<size_t>(vocab, 3000); ++i) {
    many.push_back(std::uniform_int_distribution<TokenId>(0, last)(random));
  }
  std::vector<SamplingSpec> specs(1);
  const auto add = [&](SamplingSpec spec, int32_t top_n) {
    spec.top_n = top_n;
    specs.push_back(std::move(spec));
  };
  add({.temperature = 1}, 2);
  add({.temperature = 0.1f}, 5);
  add({.temperature = 7, .banned = {last, 0, 0}}, 0);
  add({.banned = many}, 64);
  add({.suppressed = {0, last}}, 1);
  add({.temperature = 2, .banned = {last / 2}, .suppressed = many}, 0);
  add({.temperature = 1, .repetition_penalty = 1.3f}, 0);
  add({.repetition_penalty = 0.7f, .banned = {1}}, 3);
  for (const bool filtered : {false, true}) {
    for (const float temperature : {0.0f, 0.2f, 1.7f}) {
      for (const auto order : {FilterOrder::kTopKTopP, FilterOrder::kTopPTopK}) {
        add({.temperature = temperature,
             .top_k = 50,
             .top_p = 0.9f,
             .filter_order = order,
             .banned = {last},
             .stats_of_filtered = filtered},
            0);
      }
      add({.temperature = temperature,
           .top_p = 0.37f,
           .min_p = 0.05f,
           .stats_of_filtered = filtered},
          4);
      add({.temperature = temperature, .top_k = 1, .stats_of_filtered = filtered}, 0);
      add({.temperature = temperature,
           .min_p = 0.5f,
           .repetition_penalty = 1.1f,
           .banned = many,
           .stats_of_filtered = filtered},
          0);
      add({.temperature = temperature, .stats_of_filtered = filtered}, 0);
    }
  }
  return specs;
}

void CheckVocabulary(Rig& rig, size_t vocab, size_t num_rows) {
  std::mt19937 random(static_cast<uint32_t>(vocab));
  Rows rows = AdversarialRows(vocab, random);
  rows.resize(num_rows);
  const std::vector<SamplingSpec> specs = AllSpecs(vocab, random);
  const auto last = static_cast<TokenId>(vocab - 1);
  const std::vector<TokenId> history = {0, last, last, last / 2, last / 3, 0};
  const std::vector<TokenId> probe = {last, 0, last / 3, 0};
  std::vector<RowRequest> requests;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t s = 0; s < specs.size(); ++s) {
      requests.push_back({.row = static_cast<int32_t>(r),
                          .sampling = &specs[s],
                          .key = {.seed = 5 + (uint64_t{s} << 33),
                                  .position = static_cast<int32_t>(r),
                                  .step = -1},
                          .history = history});
      if (s % 3 == 0) requests.back().probe = probe;
      if (s % 5 == 1 && r < 2) {
        requests.back().guidance_row = 1 - static_cast<int32_t>(r);
        requests.back().guidance_scale = 0.5f;
      }
    }
  }
  GivenLogits logits(rig, rows);
  const std::vector<RowStats> got = logits.Stats(requests, rows.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const bool border = vocab > 10000 && requests[i].sampling->top_p < 1;
    ExpectSame(logits.Reference(requests[i]), got[i], border ? 3e-5 : 0,
               "vocabulary " + std::to_string(vocab) + ", row " + std::to_string(i / specs.size()) +
                   ", spec " + std::to_string(i % specs.size()));
  }

  // Neither the other requests nor the number of rows changes a bit.
  for (size_t i = 0; i < specs.size(); ++i) {
    const size_t rows_needed = requests[i].guidance_row < 0 ? 1 : 2;
    if (rows_needed > rows.size()) continue;
    ExpectEqual(logits.Stats({requests[i]}, rows_needed)[0], got[i],
                "vocabulary " + std::to_string(vocab) + ", spec " + std::to_string(i) + " alone");
  }
  const std::vector<RowStats> recorded = logits.RecordedStats(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    ExpectEqual(recorded[i], got[i], "vocabulary " + std::to_string(vocab) + ", recorded");
  }
  std::printf("vocabulary %zu: %zu requests\n", vocab, requests.size());
}

// More rows than a tile, guidance across tiles, more requests than a pass.
void CheckManyRows(Rig& rig, size_t num_rows, size_t num_requests) {
  constexpr size_t kVocab = 200;
  std::mt19937 random(7);
  Rows rows;
  for (size_t r = 0; r < num_rows; ++r) rows.push_back(Normals(kVocab, 2, random));
  const std::vector<SamplingSpec> specs = AllSpecs(kVocab, random);
  GivenLogits logits(rig, rows);
  for (const bool guided : {false, true}) {
    std::vector<RowRequest> requests;
    for (size_t i = 0; i < num_requests; ++i) {
      const auto row = static_cast<int32_t>(i * 7 % num_rows);
      requests.push_back(
          {.row = row,
           .guidance_row = guided && i % 2 == 0 ? static_cast<int32_t>(num_rows) - 1 - row : -1,
           .guidance_scale = 1,
           .sampling = &specs[i % specs.size()],
           .key = {.seed = i}});
    }
    const std::vector<RowStats> got = logits.Stats(requests, num_rows);
    for (size_t i = 0; i < requests.size(); ++i) {
      ExpectSame(logits.Reference(requests[i]), got[i], 0,
                 std::to_string(num_rows) + " rows, request " + std::to_string(i) +
                     (guided ? ", guided" : ""));
    }
  }
  std::printf("%zu rows: %zu requests\n", num_rows, num_requests);
}

void CheckInvalidRows(Rig& rig, size_t vocab) {
  const std::vector<TokenId> probe = {1};
  for (const float special : {kNaN, -kNaN, kInf, -kInf}) {
    for (const bool everywhere : {false, true}) {
      const Rows rows = {std::vector<float>(vocab, everywhere ? special : 1.0f)};
      Rows changed = rows;
      changed[0][vocab - 1] = special;
      GivenLogits logits(rig, changed);
      for (const float temperature : {0.0f, 1.0f, 1e-38f, 0.02f}) {
        for (const int top_k : {0, 2}) {
          SamplingSpec spec = {.temperature = temperature, .top_k = top_k, .banned = {0}};
          spec.top_n = 3;
          const RowRequest request = {.sampling = &spec, .probe = probe};
          ExpectSame(logits.Reference(request), logits.Stats({request}, 1)[0], 0,
                     "vocabulary " + std::to_string(vocab) + " with " + std::to_string(special));
        }
      }
      SamplingSpec without = {.temperature = 1, .suppressed = {static_cast<TokenId>(vocab - 1)}};
      const RowRequest request = {.sampling = &without};
      ExpectSame(logits.Reference(request), logits.Stats({request}, 1)[0], 0,
                 "suppressed " + std::to_string(special));
    }
  }
}

// The choice is the very id that noise on every id gives, at any scale and temperature.
void CheckChoices(Rig& rig, size_t vocab, int keys) {
  std::mt19937 random(11);
  for (const float scale : {0.0f, 0.01f, 1.0f, 3000.0f}) {
    const Rows rows = {Normals(vocab, scale, random)};
    GivenLogits logits(rig, rows);
    for (const float temperature : {1e-38f, 0.02f, 1.0f, 30.0f}) {
      SamplingSpec spec = {.temperature = temperature};
      std::vector<RowRequest> requests;
      for (int i = 0; i < keys; ++i) {
        requests.push_back(
            {.sampling = &spec, .key = {.seed = 1ull << 40, .position = -i, .step = i}});
      }
      const std::vector<RowStats> got = logits.Stats(requests, 1);
      for (size_t i = 0; i < requests.size(); ++i) {
        Expect(got[i].sampled == logits.Reference(requests[i]).sampled,
               "choice at scale " + std::to_string(scale) + ", temperature " +
                   std::to_string(temperature));
      }
    }
  }
}

int Main(std::string_view mode) {
  Rig rig;
  if (mode == "small") {
    CheckVocabulary(rig, 5, 3);
    CheckVocabulary(rig, 4099, 2);
    CheckManyRows(rig, 260, 40);
    CheckInvalidRows(rig, 5);
    CheckChoices(rig, 300, 3);
  } else if (mode != "time") {
    CheckVocabulary(rig, 5, 8);
    CheckVocabulary(rig, 1000, 8);
    CheckVocabulary(rig, 32001, 8);
    CheckVocabulary(rig, 126464, 3);
    CheckVocabulary(rig, 151936, 3);
    CheckManyRows(rig, 3, 2500);
    CheckManyRows(rig, 300, 600);
    CheckInvalidRows(rig, 3);
    CheckInvalidRows(rig, 5000);
    CheckChoices(rig, 3001, 40);
  }
  if (mode != "time") std::printf("%s: %d failures\n", failures == 0 ? "PASS" : "FAIL", failures);
  if (mode == "time" || mode.empty()) {
    const double rate = ReadBandwidth(rig);
    for (const int32_t rows : {32, 256}) TimeReduction(rig, rate, rows);
    const RepeatedHead head(rig);
    for (const int32_t rows : {1, 32, 64, 256}) TimeSlices(rig, rate, head, rows);
    for (const int32_t rows : {32, 1024}) TimeHost(rig, head, rows);
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tessera::cuda

int main(int argc, char** argv) {
  if (!tessera::cuda::HasGpu()) return tessera::cuda::kSkipped;
  return tessera::cuda::Main(argc > 1 ? argv[1] : "");
}
