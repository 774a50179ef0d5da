#include "tessera/engine/engine.h"

#include <algorithm>

namespace tessera::engine {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::unique_ptr<Completion> ErrorCompletion(Status status) {
  auto completion = std::make_unique<Completion>();
  completion->status = std::move(status);
  return completion;
}

}  // namespace

// Canvas rounded to whole blocks, and a page each for rounding and for scratch.
int64_t Engine::SlotsFor(const Request& request) const {
  const int64_t canvas = static_cast<int64_t>(request.prompt.size()) + request.max_new_tokens +
                         2 * std::max(model_.traits().block, 1);
  return request.strategy->slots_per_position() * canvas + 2 * ops::kPageRows;
}

Result<int64_t> Engine::Submit(Request request) {
  if (request.strategy == nullptr) return Internal("request without a strategy");
  const int64_t slots = SlotsFor(request);
  if (options_.kv_slots > 0 && slots > options_.kv_slots) {
    return ResourceExhausted("the request may need {} K/V rows; this engine holds {}", slots,
                             options_.kv_slots);
  }
  const int64_t id = next_id_++;
  waiting_.push_back({.id = id, .request = std::move(request), .slots = slots});
  return id;
}

// The pool is sized when nothing runs: for the fixed budget, or for the requests at hand. Memory is
// touched page by page, so a generous size costs address space only.
Status Engine::ReserveKv() {
  if (!active_.empty()) return OkStatus();
  int64_t wanted = options_.kv_slots;
  if (wanted == 0) {
    int32_t count = 0;
    for (const Waiting& waiting : waiting_) {
      if (count++ < options_.max_sequences) wanted += waiting.slots;
    }
  }
  if (wanted <= kv_slots_) return OkStatus();
  kv_.reset();
  kv_slots_ = 0;
  const int64_t pages = (wanted + ops::kPageRows - 1) / ops::kPageRows;
  TESSERA_ASSIGN_OR_RETURN(kv_, model_.MakeKvCache(static_cast<int32_t>(pages)));
  kv_slots_ = wanted;
  return OkStatus();
}

void Engine::Admit() {
  if (waiting_.empty()) return;
  if (const Status status = ReserveKv(); !status.ok()) {
    for (const Waiting& waiting : waiting_) finished_[waiting.id] = ErrorCompletion(status);
    waiting_.clear();
    return;
  }
  while (!waiting_.empty() && static_cast<int32_t>(active_.size()) < options_.max_sequences &&
         reserved_slots_ + waiting_.front().slots <= kv_slots_) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    Result<std::unique_ptr<Sequence>> sequence =
        Sequence::Create(next.id, std::move(next.request), model_.traits(), kv_->pool());
    if (!sequence.ok()) {
      finished_[next.id] = ErrorCompletion(sequence.status());
      continue;
    }
    reserved_slots_ += next.slots;
    slots_of_[next.id] = next.slots;
    active_.push_back({.sequence = std::move(*sequence), .begin = Clock::now()});
  }
}

void Engine::Retire() {
  std::erase_if(active_, [&](Running& running) {
    if (!running.sequence->finished()) return false;
    const int64_t id = running.sequence->id();
    finished_[id] = std::make_unique<Completion>(running.sequence->TakeCompletion());
    reserved_slots_ -= slots_of_[id];
    slots_of_.erase(id);
    return true;
  });
}

Status Engine::CopyKv(const Sequence& sequence) {
  if (sequence.kv_moves().empty() || sequence.finished()) return OkStatus();
  for (int32_t layer = 0; layer < kv_->num_layers(); ++layer) {
    TESSERA_RETURN_IF_ERROR(device_.KvCopy(
        {.kv = kv_->layer(layer), .pages = sequence.pages(), .moves = sequence.kv_moves()}));
  }
  return OkStatus();
}

void Engine::Lane::Clear() {
  batch.Clear();
  planned.clear();
}

void Engine::RunLane(Lane& lane) {
  if (lane.planned.empty()) return;
  const Status status =
      model_.Forward(lane.batch.Input(), *kv_, lane.batch.requests(), lane.batch.stats());
  for (size_t i = 0; i < lane.planned.size(); ++i) {
    Sequence& sequence = *lane.planned[i]->sequence;
    Status applied = status.ok() ? sequence.ApplyStep(lane.batch.StatsOf(i),
                                                      SecondsSince(lane.planned[i]->begin),
                                                      model_.weight_bytes_read())
                                 : status;
    if (applied.ok()) applied = CopyKv(sequence);
    if (!applied.ok()) sequence.Fail(applied);
  }
}

void Engine::Step() {
  Admit();
  Retire();  // requests with nothing to do
  forwards_.Clear();
  joint_passes_.Clear();
  for (Running& running : active_) {
    const Status status = running.sequence->PlanStep({.max_rows = options_.prefill_rows});
    if (!status.ok()) {
      running.sequence->Fail(status);
      continue;
    }
    const bool joint = running.sequence->plan().kind == decode::ForwardKind::kJoint;
    Lane& lane = joint ? joint_passes_ : forwards_;
    lane.batch.Add(*running.sequence);
    lane.planned.push_back(&running);
  }
  RunLane(forwards_);
  RunLane(joint_passes_);
  Retire();
}

std::unique_ptr<Completion> Engine::Take(int64_t id) {
  const auto it = finished_.find(id);
  if (it == finished_.end()) return nullptr;
  std::unique_ptr<Completion> completion = std::move(it->second);
  finished_.erase(it);
  return completion;
}

Completion Engine::Run(Request request) {
  const Result<int64_t> id = Submit(std::move(request));
  if (!id.ok()) return std::move(*ErrorCompletion(id.status()));
  std::unique_ptr<Completion> completion;
  while ((completion = Take(*id)) == nullptr) Step();
  return std::move(*completion);
}

}  // namespace tessera::engine
