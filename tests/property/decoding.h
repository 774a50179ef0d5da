// Runs strategies on the golden models and on mock models.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tessera/decode/registry.h"
#include "tessera/engine/engine.h"
#include "tessera/models/mock_model.h"
#include "tests/golden/golden.h"

namespace tessera::property {

struct Job {
  std::string strategy;
  std::vector<int32_t> prompt = {3, 14, 15, 92, 65, 35, 89, 79};
  int32_t max_new_tokens = 24;
  ops::SamplingSpec sampling = {};
  uint64_t seed = 0;
  bool stop_early = false;
  std::vector<int32_t> stop_ids = {};
  decode::ArtefactLoader load = {};
};

// What a job did, forward by forward.
struct Outcome {
  engine::Completion completion;
  std::vector<std::map<int32_t, int32_t>> commits;  // of every forward, empty ones included
  std::vector<std::vector<int32_t>> canvases;       // after every forward
  std::vector<decode::ForwardKind> kinds;

  const std::vector<int32_t>& canvas() const { return completion.canvas; }
  int64_t forwards(decode::ForwardKind kind) const {
    return completion.metrics.forwards[static_cast<int>(kind)];
  }
};

// Runs the jobs together in one engine; every forward evaluates all of them.
inline std::vector<Outcome> RunTogether(models::Model& model, ops::Device& device,
                                        const std::vector<Job>& jobs,
                                        const engine::EngineOptions& options = {}) {
  engine::Engine engine(model, device, options);
  std::vector<Outcome> runs(jobs.size());
  std::vector<int64_t> ids;
  for (size_t i = 0; i < jobs.size(); ++i) {
    Result<std::unique_ptr<decode::Strategy>> strategy =
        decode::MakeStrategy(jobs[i].strategy, model.traits(), jobs[i].sampling, jobs[i].load);
    if (!strategy.ok()) {
      ADD_FAILURE() << jobs[i].strategy << ": " << strategy.status().message();
      ids.push_back(-1);
      continue;
    }
    Outcome* run = &runs[i];
    Result<int64_t> id =
        engine.Submit({.prompt = jobs[i].prompt,
                       .max_new_tokens = jobs[i].max_new_tokens,
                       .seed = jobs[i].seed,
                       .strategy = std::move(*strategy),
                       .stop_ids = jobs[i].stop_ids,
                       .stop_early = jobs[i].stop_early,
                       .on_step = [run](const engine::StepEvent& event) {
                         std::map<int32_t, int32_t> commits;
                         for (const decode::Placement& commit : event.commits) {
                           commits[commit.position] = commit.token;
                         }
                         run->commits.push_back(std::move(commits));
                         run->canvases.emplace_back(event.canvas.begin(), event.canvas.end());
                         run->kinds.push_back(event.kind);
                         return true;
                       }});
    EXPECT_TRUE(id.ok()) << id.status().message();
    ids.push_back(id.ok() ? *id : -1);
  }
  while (!engine.idle()) engine.Step();
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (ids[i] < 0) continue;
    runs[i].completion = std::move(*engine.Take(ids[i]));
    EXPECT_TRUE(runs[i].completion.status.ok())
        << jobs[i].strategy << ": " << runs[i].completion.status.message();
  }
  return runs;
}

inline Outcome RunAlone(models::Model& model, ops::Device& device, const Job& job) {
  return std::move(RunTogether(model, device, {job}).front());
}

inline Outcome RunAlone(const golden::Loaded& loaded, const Job& job) {
  return RunAlone(*loaded.model, *loaded.device, job);
}

inline Outcome RunAlone(models::MockModel& model, const Job& job) {
  return RunAlone(model, model.device(), job);
}

}  // namespace tessera::property
