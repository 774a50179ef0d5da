// The one loop: plan, merge, forward, commit, apply; for all sequences and strategies at once.
//
// Not thread-safe; one thread submits and steps. Every submitted request ends in exactly one
// completion, whatever happens to it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/engine/batch.h"
#include "tessera/engine/request.h"
#include "tessera/kv/kv_cache.h"
#include "tessera/models/model.h"

namespace tessera::engine {

struct EngineOptions {
  int32_t max_sequences = 32;  // decoded at once; the rest wait
  int32_t prefill_rows = 512;  // causal prompts are evaluated in chunks of this many rows
  int32_t kv_slots = 0;        // K/V rows of all sequences; 0: as the waiting requests need
};

class Engine {
 public:
  Engine(models::Model& model, ops::Device& device, const EngineOptions& options)
      : model_(model), device_(device), options_(options) {}

  // Queues a request and returns its id. A request that can never run is refused here.
  Result<int64_t> Submit(Request request);
  // Runs one forward for all active sequences. An error of the device fails all of them; errors of
  // one sequence fail only that one.
  void Step();
  // How many sequences are decoded at once from the next admission on; at least one.
  void set_max_sequences(int32_t count) { options_.max_sequences = count; }
  bool idle() const { return waiting_.empty() && active_.empty(); }
  // The completion of a finished request; null while it is running.
  std::unique_ptr<Completion> Take(int64_t id);

  // Submits one request and steps until it is done.
  Completion Run(Request request);

 private:
  struct Running {
    std::unique_ptr<Sequence> sequence;
    std::chrono::steady_clock::time_point begin;
  };
  struct Waiting {
    int64_t id;
    Request request;
    int64_t slots;  // upper bound of K/V rows it can touch
  };

  int64_t SlotsFor(const Request& request) const;
  Status ReserveKv();
  void Admit();
  void Retire();
  Status CopyKv(const Sequence& sequence);

  // What is evaluated together: the forwards of a step, or its passes of the joint layer.
  struct Lane {
    Batch batch;
    std::vector<Running*> planned;
    void Clear();
  };
  void RunLane(Lane& lane);

  models::Model& model_;
  ops::Device& device_;
  EngineOptions options_;
  int64_t next_id_ = 1;
  std::deque<Waiting> waiting_;
  std::unique_ptr<kv::KvCache> kv_;  // before active_: sequences give their pages back to it
  int64_t kv_slots_ = 0, reserved_slots_ = 0;
  std::map<int64_t, int64_t> slots_of_;  // reserved by each active sequence
  std::vector<Running> active_;
  std::map<int64_t, std::unique_ptr<Completion>> finished_;
  Lane forwards_, joint_passes_;
};

}  // namespace tessera::engine
